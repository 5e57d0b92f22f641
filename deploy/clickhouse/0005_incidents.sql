-- Made by `python -m deploy.generate` from deploy/sql/0005_incidents.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`incidents_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/incidents', '{replica}', `sequence`)
ORDER BY (`model`, `version`, `role`, `incident`)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`incidents` ON CLUSTER 'driftline'
AS `driftline`.`incidents_local`
ENGINE = Distributed('driftline', 'driftline', 'incidents_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`incidents_feed` ON CLUSTER 'driftline'
TO `driftline`.`incidents_local` AS
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
FROM `driftline`.`audit_local`
WHERE startsWith(`kind`, 'incident.');

CREATE TABLE IF NOT EXISTS `driftline`.`rollbacks_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/rollbacks', '{replica}', `sequence`)
ORDER BY (`model`, `version`, `role`, `rollback`)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`rollbacks` ON CLUSTER 'driftline'
AS `driftline`.`rollbacks_local`
ENGINE = Distributed('driftline', 'driftline', 'rollbacks_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`rollbacks_feed` ON CLUSTER 'driftline'
TO `driftline`.`rollbacks_local` AS
SELECT `model`, `version`, `role`, `subject` AS `rollback`, `sequence`,
    substring(`kind`, 10) AS `state`, JSONExtractString(`body`, 'return_to') AS `return_to`, `by`,
    JSONExtractString(`body`, 'reason') AS `reason`, `at` AS `changed_at`
FROM `driftline`.`audit_local`
WHERE startsWith(`kind`, 'rollback.');

INSERT INTO `driftline`.`incidents`
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
FROM `driftline`.`audit`
WHERE startsWith(`kind`, 'incident.');

INSERT INTO `driftline`.`rollbacks`
SELECT `model`, `version`, `role`, `subject` AS `rollback`, `sequence`,
    substring(`kind`, 10) AS `state`, JSONExtractString(`body`, 'return_to') AS `return_to`, `by`,
    JSONExtractString(`body`, 'reason') AS `reason`, `at` AS `changed_at`
FROM `driftline`.`audit`
WHERE startsWith(`kind`, 'rollback.');

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (5, 'incidents', '2eb5733704f2b6a89896ede7c7e89c17e68c44b215d7b7ff848d0faf7f63e31c');
