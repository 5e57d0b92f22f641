-- What the boards of a whole fleet read: the newest verdict of every release, and the newest finding
-- of everything that decides. Both are some thousand rows however long the history is; read from
-- `verdicts` and `findings` they would be a scan, because time comes late in those sorting keys.
--
-- The feeds run inside the insert and write by key, so rows that are stored twice change nothing.

CREATE TABLE IF NOT EXISTS {database}.`newest_verdicts`
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `sequence` UInt64,
    `status` LowCardinality(String),
    `reason` String,
    `as_of` DateTime64(3, 'UTC'),
    `window_ms` UInt32,
    `baseline_version` String,
    `events` UInt64,
    `p95_latency_ms` Nullable(Float64),
    `p99_latency_ms` Nullable(Float64),
    `further_events` Nullable(Float64),
    `further_ms` Nullable(Float64),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`sequence`)
ORDER BY (`model`, `version`, `role`)
TTL `stored_at` + toIntervalDay(90);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`newest_verdicts_feed`
TO {database}.`newest_verdicts` AS
SELECT `model`, `version`, `role`, `sequence`, `status`, `reason`, `as_of`, `window_ms`,
    `baseline_version`, `events`, `p95_latency_ms`, `p99_latency_ms`, `further_events`, `further_ms`
FROM {database}.`verdicts`;

CREATE TABLE IF NOT EXISTS {database}.`newest_findings`
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `segment` String,
    `column` String,
    `window_ms` UInt32,
    `detector` LowCardinality(String),
    `compared` LowCardinality(String),
    `newest` UInt64,
    `window_start` DateTime64(3, 'UTC'),
    `window_end` DateTime64(3, 'UTC'),
    `statistic` Nullable(Float64),
    `threshold` Nullable(Float64),
    `n` UInt64,
    `outcome` LowCardinality(String),
    `reason` String,
    `critical` Bool,
    `effect` Nullable(Float64),
    `effect_low` Nullable(Float64),
    `effect_high` Nullable(Float64),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`newest`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`, `compared`)
TTL `stored_at` + toIntervalDay(90);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`newest_findings_feed`
TO {database}.`newest_findings` AS
SELECT `model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`,
    splitByChar(':', `against`)[1] AS `compared`,
    toUInt64(toUnixTimestamp64Milli(`window_start`)) * 1024 + least(`revision`, 1023) AS `newest`,
    `window_start`, `window_end`, `statistic`, `threshold`, `n`, `outcome`, `reason`, `critical`,
    `effect`, `effect_low`, `effect_high`
FROM {database}.`findings`
WHERE `decides`;

INSERT INTO {database}.`newest_verdicts`
SELECT `model`, `version`, `role`, `sequence`, `status`, `reason`, `as_of`, `window_ms`,
    `baseline_version`, `events`, `p95_latency_ms`, `p99_latency_ms`, `further_events`, `further_ms`
FROM {database}.`verdicts`
WHERE `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO {database}.`newest_findings`
SELECT `model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`,
    splitByChar(':', `against`)[1] AS `compared`,
    toUInt64(toUnixTimestamp64Milli(`window_start`)) * 1024 + least(`revision`, 1023) AS `newest`,
    `window_start`, `window_end`, `statistic`, `threshold`, `n`, `outcome`, `reason`, `critical`,
    `effect`, `effect_low`, `effect_high`
FROM {database}.`findings`
WHERE `decides` AND `stored_at` > now('UTC') - toIntervalDay(7);

-- A range of time is asked of these across all keys. Inside a key rows lie in the order of time, so
-- a block of rows spans little of it and is skipped by its bounds.

ALTER TABLE {database}.`findings` ADD INDEX IF NOT EXISTS `bounds_of_time` `window_start` TYPE minmax GRANULARITY 1;
ALTER TABLE {database}.`windows` ADD INDEX IF NOT EXISTS `bounds_of_time` `window_start` TYPE minmax GRANULARITY 1;
ALTER TABLE {database}.`verdicts` ADD INDEX IF NOT EXISTS `bounds_of_time` `as_of` TYPE minmax GRANULARITY 1;
ALTER TABLE {database}.`intake` ADD INDEX IF NOT EXISTS `bounds_of_time` `seen_at` TYPE minmax GRANULARITY 1;
ALTER TABLE {database}.`dead_letters` ADD INDEX IF NOT EXISTS `bounds_of_time` `seen_at` TYPE minmax GRANULARITY 1;
