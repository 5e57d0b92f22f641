-- Made by `python -m deploy.generate` from deploy/sql/0001_tables.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`windows_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `segment` String,
    `column` String,
    `kind` LowCardinality(String),
    `window_ms` UInt32,
    `window_start` DateTime64(3, 'UTC'),
    `window_end` DateTime64(3, 'UTC'),
    `reference` String,
    `revision` UInt32,
    `events` UInt64,
    `n` UInt64,
    `nulls` UInt64,
    `errors` UInt64,
    `mean` Nullable(Float64),
    `sd` Nullable(Float64),
    `min` Nullable(Float64),
    `max` Nullable(Float64),
    `p50` Nullable(Float64),
    `p95` Nullable(Float64),
    `p99` Nullable(Float64),
    `p999` Nullable(Float64),
    `histogram` Array(UInt64),
    `categories` Map(String, UInt64),
    `offset` UInt64,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/windows', '{replica}', `revision`)
PARTITION BY toYYYYMM(`window_start`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `window_start`, `reference`)
TTL `stored_at` + toIntervalDay(30) TO VOLUME 'cold', `stored_at` + toIntervalDay(400) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`windows` ON CLUSTER 'driftline'
AS `driftline`.`windows_local`
ENGINE = Distributed('driftline', 'driftline', 'windows_local', cityHash64(model));

CREATE TABLE IF NOT EXISTS `driftline`.`findings_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `segment` String,
    `column` String,
    `window_ms` UInt32,
    `window_start` DateTime64(3, 'UTC'),
    `window_end` DateTime64(3, 'UTC'),
    `detector` LowCardinality(String),
    `against` String,
    `revision` UInt32,
    `statistic` Nullable(Float64),
    `threshold` Nullable(Float64),
    `n` UInt64,
    `n_against` UInt64,
    `outcome` LowCardinality(String),
    `reason` String,
    `decides` Bool,
    `critical` Bool,
    `evidence` LowCardinality(String),
    `offset` UInt64,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/findings', '{replica}', `revision`)
PARTITION BY toYYYYMM(`window_start`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `window_start`, `detector`, `against`)
TTL `stored_at` + toIntervalDay(30) TO VOLUME 'cold', `stored_at` + toIntervalDay(400) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`findings` ON CLUSTER 'driftline'
AS `driftline`.`findings_local`
ENGINE = Distributed('driftline', 'driftline', 'findings_local', cityHash64(model));

CREATE TABLE IF NOT EXISTS `driftline`.`verdicts_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `sequence` UInt64,
    `status` LowCardinality(String),
    `reason` String,
    `as_of` DateTime64(3, 'UTC'),
    `window_start` DateTime64(3, 'UTC'),
    `window_ms` UInt32,
    `baseline_version` String,
    `events` UInt64,
    `p95_latency_ms` Nullable(Float64),
    `p99_latency_ms` Nullable(Float64),
    `columns` Array(String),
    `offset` UInt64,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/verdicts', '{replica}', `offset`)
ORDER BY (`model`, `version`, `role`, `as_of`, `sequence`)
TTL `stored_at` + toIntervalDay(90) TO VOLUME 'cold', `stored_at` + toIntervalDay(400) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`verdicts` ON CLUSTER 'driftline'
AS `driftline`.`verdicts_local`
ENGINE = Distributed('driftline', 'driftline', 'verdicts_local', cityHash64(model));

CREATE TABLE IF NOT EXISTS `driftline`.`actions_local` ON CLUSTER 'driftline'
(
    `action_key` String,
    `step` UInt32,
    `kind` LowCardinality(String),
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `return_to` String,
    `receiver` String,
    `state` LowCardinality(String),
    `attempt` UInt32,
    `reason` String,
    `detail` String,
    `at` DateTime64(3, 'UTC'),
    `revision` UInt64,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/actions', '{replica}', `revision`)
ORDER BY (`action_key`, `receiver`, `step`)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`actions` ON CLUSTER 'driftline'
AS `driftline`.`actions_local`
ENGINE = Distributed('driftline', 'driftline', 'actions_local', cityHash64(action_key));

CREATE TABLE IF NOT EXISTS `driftline`.`dead_letters_local` ON CLUSTER 'driftline'
(
    `topic` LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    `row` Int32,
    `reason` String,
    `bytes` UInt64,
    `seen_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/dead_letters', '{replica}', `seen_at`)
ORDER BY (`topic`, `partition`, `offset`, `row`)
TTL `stored_at` + toIntervalDay(90) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`dead_letters` ON CLUSTER 'driftline'
AS `driftline`.`dead_letters_local`
ENGINE = Distributed('driftline', 'driftline', 'dead_letters_local', cityHash64(topic, partition));

CREATE TABLE IF NOT EXISTS `driftline`.`intake_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/intake', '{replica}', `last_offset`)
ORDER BY (`topic`, `partition`, `first_offset`)
TTL `stored_at` + toIntervalDay(14) TO VOLUME 'cold', `stored_at` + toIntervalDay(90) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`intake` ON CLUSTER 'driftline'
AS `driftline`.`intake_local`
ENGINE = Distributed('driftline', 'driftline', 'intake_local', cityHash64(topic, partition));

CREATE TABLE IF NOT EXISTS `driftline`.`references_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `reference` String,
    `origin` String,
    `rows` UInt64,
    `columns` UInt32,
    `effective_from` DateTime64(3, 'UTC'),
    `content` String,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/references', '{replica}', `effective_from`)
ORDER BY (`model`, `reference`)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`references` ON CLUSTER 'driftline'
AS `driftline`.`references_local`
ENGINE = Distributed('driftline', 'driftline', 'references_local', cityHash64(model));

CREATE TABLE IF NOT EXISTS `driftline`.`events_local` ON CLUSTER 'driftline'
(
    `model` LowCardinality(String),
    `version` String,
    `role` LowCardinality(String),
    `kind` LowCardinality(String),
    `ts` DateTime64(3, 'UTC'),
    `topic` LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    `row` Int32,
    `numbers` Map(String, Float64),
    `texts` Map(String, String),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/events', '{replica}', `offset`)
PARTITION BY toYYYYMM(`ts`)
ORDER BY (`model`, `version`, `role`, `ts`, `topic`, `partition`, `offset`, `row`)
TTL `stored_at` + toIntervalDay(3) TO VOLUME 'cold', `stored_at` + toIntervalDay(30) DELETE
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`events` ON CLUSTER 'driftline'
AS `driftline`.`events_local`
ENGINE = Distributed('driftline', 'driftline', 'events_local', cityHash64(model));

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (1, 'tables', '07912c4756bd22f58de98b6b5a09f4e6c7fb118f0dbea9eceb1e3d787cdfb5c1');
