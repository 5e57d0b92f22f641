-- Made by `python -m deploy.generate` from deploy/sql/0007_by_time.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`intake_by_time_local` ON CLUSTER 'driftline'
(
    `topic` LowCardinality(String),
    `partition` Int32,
    `first_offset` Int64,
    `last_offset` Int64,
    `messages` UInt64,
    `events` UInt64,
    `dead` UInt64,
    `late` UInt64,
    `capped` UInt64,
    `seen_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/intake_by_time', '{replica}', `last_offset`)
ORDER BY (`seen_at`, `topic`, `partition`, `first_offset`)
TTL `stored_at` + toIntervalDay(90)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`intake_by_time` ON CLUSTER 'driftline'
AS `driftline`.`intake_by_time_local`
ENGINE = Distributed('driftline', 'driftline', 'intake_by_time_local', cityHash64(topic, partition));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`intake_by_time_feed` ON CLUSTER 'driftline'
TO `driftline`.`intake_by_time_local` AS
SELECT `topic`, `partition`, `first_offset`, `last_offset`, `messages`, `events`, `dead`, `late`,
    `capped`, `seen_at`
FROM `driftline`.`intake_local`;

CREATE TABLE IF NOT EXISTS `driftline`.`traffic_local` ON CLUSTER 'driftline'
(
    `window_ms` UInt32,
    `window_start` DateTime64(3, 'UTC'),
    `window_end` DateTime64(3, 'UTC'),
    `column` LowCardinality(String),
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `segment` String,
    `reference` String,
    `revision` UInt32,
    `n` UInt64,
    `errors` UInt64,
    `p95` Nullable(Float64),
    `p99` Nullable(Float64),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/traffic', '{replica}', `revision`)
ORDER BY (`window_ms`, `window_start`, `column`, `model`, `version`, `role`, `segment`, `reference`)
TTL `stored_at` + toIntervalDay(90)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`traffic` ON CLUSTER 'driftline'
AS `driftline`.`traffic_local`
ENGINE = Distributed('driftline', 'driftline', 'traffic_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`traffic_feed` ON CLUSTER 'driftline'
TO `driftline`.`traffic_local` AS
SELECT `window_ms`, `window_start`, `window_end`, `column`, `model`, `version`, `role`, `segment`,
    `reference`, `revision`, `n`, `errors`, `p95`, `p99`
FROM `driftline`.`windows_local`
WHERE `column` IN ('error', 'latency_ms') AND (`segment` = 'all' OR endsWith(`segment`, '__other__'));

CREATE TABLE IF NOT EXISTS `driftline`.`evidence_peaks_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `segment` String,
    `window_ms` UInt32,
    `span` DateTime('UTC'),
    `column` String,
    `share` UInt32,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/evidence_peaks', '{replica}', `share`)
ORDER BY (`model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`)
TTL `stored_at` + toIntervalDay(400)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`evidence_peaks` ON CLUSTER 'driftline'
AS `driftline`.`evidence_peaks_local`
ENGINE = Distributed('driftline', 'driftline', 'evidence_peaks_local', cityHash64(model));

CREATE MATERIALIZED VIEW IF NOT EXISTS `driftline`.`evidence_peaks_feed` ON CLUSTER 'driftline'
TO `driftline`.`evidence_peaks_local` AS
SELECT `model`, `version`, `role`, `segment`, `window_ms`,
    toStartOfFiveMinutes(toDateTime(`window_start`, 'UTC')) AS `span`, `column`,
    max(toUInt32(1000000 * greatest(0, least(4000, assumeNotNull(`statistic` / `threshold`))))) AS `share`
FROM `driftline`.`findings_local`
WHERE `decides` AND `threshold` > 0 AND `statistic` IS NOT NULL AND NOT isNaN(`statistic`)
GROUP BY `model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`;

INSERT INTO `driftline`.`intake_by_time`
SELECT `topic`, `partition`, `first_offset`, `last_offset`, `messages`, `events`, `dead`, `late`,
    `capped`, `seen_at`
FROM `driftline`.`intake`
WHERE `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO `driftline`.`traffic`
SELECT `window_ms`, `window_start`, `window_end`, `column`, `model`, `version`, `role`, `segment`,
    `reference`, `revision`, `n`, `errors`, `p95`, `p99`
FROM `driftline`.`windows`
WHERE `column` IN ('error', 'latency_ms') AND (`segment` = 'all' OR endsWith(`segment`, '__other__'))
    AND `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO `driftline`.`evidence_peaks`
SELECT `model`, `version`, `role`, `segment`, `window_ms`,
    toStartOfFiveMinutes(toDateTime(`window_start`, 'UTC')) AS `span`, `column`,
    max(toUInt32(1000000 * greatest(0, least(4000, assumeNotNull(`statistic` / `threshold`))))) AS `share`
FROM `driftline`.`findings`
WHERE `decides` AND `threshold` > 0 AND `statistic` IS NOT NULL AND NOT isNaN(`statistic`)
    AND `stored_at` > now('UTC') - toIntervalDay(7)
GROUP BY `model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`;

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (7, 'by_time', '30d989024027a8b65cbb96b67bc5c3942037b28da6fec0b338ffe4ccbd63c7c8');
