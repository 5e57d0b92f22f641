-- Made by `python -m deploy.generate` from deploy/sql/0003_boards.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`newest_verdicts_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/newest_verdicts', '{replica}', `sequence`)
ORDER BY (`model`, `version`, `role`)
TTL `stored_at` + toIntervalDay(90)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`newest_verdicts` ON CLUSTER 'driftline'
AS `driftline`.`newest_verdicts_local`
ENGINE = Distributed('driftline', 'driftline', 'newest_verdicts_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`newest_verdicts_feed` ON CLUSTER 'driftline'
TO `driftline`.`newest_verdicts_local` AS
SELECT `model`, `version`, `role`, `sequence`, `status`, `reason`, `as_of`, `window_ms`,
    `baseline_version`, `events`, `p95_latency_ms`, `p99_latency_ms`, `further_events`, `further_ms`
FROM `driftline`.`verdicts_local`;

CREATE TABLE IF NOT EXISTS `driftline`.`newest_findings_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/newest_findings', '{replica}', `newest`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`, `compared`)
TTL `stored_at` + toIntervalDay(90)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`newest_findings` ON CLUSTER 'driftline'
AS `driftline`.`newest_findings_local`
ENGINE = Distributed('driftline', 'driftline', 'newest_findings_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`newest_findings_feed` ON CLUSTER 'driftline'
TO `driftline`.`newest_findings_local` AS
SELECT `model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`,
    splitByChar(':', `against`)[1] AS `compared`,
    toUInt64(toUnixTimestamp64Milli(`window_start`)) * 1024 + least(`revision`, 1023) AS `newest`,
    `window_start`, `window_end`, `statistic`, `threshold`, `n`, `outcome`, `reason`, `critical`,
    `effect`, `effect_low`, `effect_high`
FROM `driftline`.`findings_local`
WHERE `decides`;

INSERT INTO `driftline`.`newest_verdicts`
SELECT `model`, `version`, `role`, `sequence`, `status`, `reason`, `as_of`, `window_ms`,
    `baseline_version`, `events`, `p95_latency_ms`, `p99_latency_ms`, `further_events`, `further_ms`
FROM `driftline`.`verdicts`
WHERE `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO `driftline`.`newest_findings`
SELECT `model`, `version`, `role`, `segment`, `column`, `window_ms`, `detector`,
    splitByChar(':', `against`)[1] AS `compared`,
    toUInt64(toUnixTimestamp64Milli(`window_start`)) * 1024 + least(`revision`, 1023) AS `newest`,
    `window_start`, `window_end`, `statistic`, `threshold`, `n`, `outcome`, `reason`, `critical`,
    `effect`, `effect_low`, `effect_high`
FROM `driftline`.`findings`
WHERE `decides` AND `stored_at` > now('UTC') - toIntervalDay(7);

ALTER TABLE `driftline`.`findings_local` ON CLUSTER 'driftline' ADD INDEX IF NOT EXISTS `bounds_of_time` `window_start` TYPE minmax GRANULARITY 1;

ALTER TABLE `driftline`.`windows_local` ON CLUSTER 'driftline' ADD INDEX IF NOT EXISTS `bounds_of_time` `window_start` TYPE minmax GRANULARITY 1;

ALTER TABLE `driftline`.`verdicts_local` ON CLUSTER 'driftline' ADD INDEX IF NOT EXISTS `bounds_of_time` `as_of` TYPE minmax GRANULARITY 1;

ALTER TABLE `driftline`.`intake_local` ON CLUSTER 'driftline' ADD INDEX IF NOT EXISTS `bounds_of_time` `seen_at` TYPE minmax GRANULARITY 1;

ALTER TABLE `driftline`.`dead_letters_local` ON CLUSTER 'driftline' ADD INDEX IF NOT EXISTS `bounds_of_time` `seen_at` TYPE minmax GRANULARITY 1;

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (3, 'boards', '31fe62a8967f605d78a8db16d9057455419727345ebd6e6450ffd8ce3507f900');
