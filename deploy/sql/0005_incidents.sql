-- Incidents and rollbacks as they stand: the newest row that the audit trail has of each. Boards and
-- the console read these; what led to it is in `audit`, step by step.
--
-- `known_as` is the key of the pages: releases that are ill alike share it. `cause` is what people
-- were told last, 'nothing' while nobody was told; `taken_at` is 1970 while nobody has taken it up.

CREATE TABLE IF NOT EXISTS {database}.`incidents`
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `incident` String,
    `known_as` String,
    `sequence` UInt64,
    `state` LowCardinality(String),
    `cause` LowCardinality(String),
    `severity` LowCardinality(String),
    `team` LowCardinality(String),
    `reason` String,
    `opened_at` DateTime64(3, 'UTC'),
    `changed_at` DateTime64(3, 'UTC'),
    `pages` UInt32,
    `taken_by` String,
    `taken_at` DateTime64(3, 'UTC'),
    `silenced_by` Array(String),
    `flapping` Bool,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`sequence`)
ORDER BY (`model`, `version`, `role`, `incident`);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`incidents_feed`
TO {database}.`incidents` AS
SELECT `model`, `version`, `role`, JSONExtractString(`body`, 'incident') AS `incident`,
    `subject` AS `known_as`, `sequence`,
    if(`kind` IN ('incident.closed', 'incident.forgotten'), 'closed', 'open') AS `state`,
    JSONExtractString(`body`, 'told') AS `cause`,
    JSONExtractString(`body`, 'severity') AS `severity`,
    JSONExtractString(`body`, 'team') AS `team`,
    JSONExtractString(`body`, 'reason') AS `reason`,
    fromUnixTimestamp64Milli(if(JSONHas(`body`, 'opened_ms'), JSONExtractInt(`body`, 'opened_ms'),
        toUnixTimestamp64Milli(`at`)), 'UTC') AS `opened_at`,
    `at` AS `changed_at`,
    toUInt32(JSONExtractUInt(`body`, 'pages')) AS `pages`,
    JSONExtractString(`body`, 'taken_by') AS `taken_by`,
    fromUnixTimestamp64Milli(JSONExtractInt(`body`, 'taken_ms'), 'UTC') AS `taken_at`,
    JSONExtract(`body`, 'silenced_by', 'Array(String)') AS `silenced_by`,
    JSONExtractBool(`body`, 'flapping') AS `flapping`
FROM {database}.`audit`
WHERE startsWith(`kind`, 'incident.');

CREATE TABLE IF NOT EXISTS {database}.`rollbacks`
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `rollback` String,
    `sequence` UInt64,
    `state` LowCardinality(String),
    `return_to` String,
    `by` String,
    `reason` String,
    `changed_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`sequence`)
ORDER BY (`model`, `version`, `role`, `rollback`);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`rollbacks_feed`
TO {database}.`rollbacks` AS
SELECT `model`, `version`, `role`, `subject` AS `rollback`, `sequence`,
    substring(`kind`, 10) AS `state`, JSONExtractString(`body`, 'return_to') AS `return_to`, `by`,
    JSONExtractString(`body`, 'reason') AS `reason`, `at` AS `changed_at`
FROM {database}.`audit`
WHERE startsWith(`kind`, 'rollback.');

INSERT INTO {database}.`incidents`
SELECT `model`, `version`, `role`, JSONExtractString(`body`, 'incident') AS `incident`,
    `subject` AS `known_as`, `sequence`,
    if(`kind` IN ('incident.closed', 'incident.forgotten'), 'closed', 'open') AS `state`,
    JSONExtractString(`body`, 'told') AS `cause`,
    JSONExtractString(`body`, 'severity') AS `severity`,
    JSONExtractString(`body`, 'team') AS `team`,
    JSONExtractString(`body`, 'reason') AS `reason`,
    fromUnixTimestamp64Milli(if(JSONHas(`body`, 'opened_ms'), JSONExtractInt(`body`, 'opened_ms'),
        toUnixTimestamp64Milli(`at`)), 'UTC') AS `opened_at`,
    `at` AS `changed_at`,
    toUInt32(JSONExtractUInt(`body`, 'pages')) AS `pages`,
    JSONExtractString(`body`, 'taken_by') AS `taken_by`,
    fromUnixTimestamp64Milli(JSONExtractInt(`body`, 'taken_ms'), 'UTC') AS `taken_at`,
    JSONExtract(`body`, 'silenced_by', 'Array(String)') AS `silenced_by`,
    JSONExtractBool(`body`, 'flapping') AS `flapping`
FROM {database}.`audit`
WHERE startsWith(`kind`, 'incident.');

INSERT INTO {database}.`rollbacks`
SELECT `model`, `version`, `role`, `subject` AS `rollback`, `sequence`,
    substring(`kind`, 10) AS `state`, JSONExtractString(`body`, 'return_to') AS `return_to`, `by`,
    JSONExtractString(`body`, 'reason') AS `reason`, `at` AS `changed_at`
FROM {database}.`audit`
WHERE startsWith(`kind`, 'rollback.');
