-- The tables of results. sinks/schema.py names the same columns; a test holds the two together.
--
-- Every table is a ReplacingMergeTree: the sorting key is the identity of a row, so writing a row
-- twice changes nothing, and the higher version column wins. Only tables whose time is part of the
-- key are partitioned by it: rows in different partitions are never merged into one.
--
-- stored_at is not part of the data (it stays out of SELECT *). Retention counts from it, because
-- replayed events keep their old event times and would otherwise be deleted as they arrive.

CREATE TABLE IF NOT EXISTS {database}.`windows`
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
ENGINE = ReplacingMergeTree(`revision`)
PARTITION BY toYYYYMM(`window_start`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `window_start`, `reference`);

CREATE TABLE IF NOT EXISTS {database}.`findings`
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
ENGINE = ReplacingMergeTree(`revision`)
PARTITION BY toYYYYMM(`window_start`)
ORDER BY (`model`, `version`, `role`, `segment`, `column`, `window_ms`, `window_start`, `detector`, `against`);

CREATE TABLE IF NOT EXISTS {database}.`verdicts`
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
ENGINE = ReplacingMergeTree(`offset`)
ORDER BY (`model`, `version`, `role`, `as_of`, `sequence`);

CREATE TABLE IF NOT EXISTS {database}.`actions`
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
ENGINE = ReplacingMergeTree(`revision`)
ORDER BY (`action_key`, `receiver`, `step`);

CREATE TABLE IF NOT EXISTS {database}.`dead_letters`
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
ENGINE = ReplacingMergeTree(`seen_at`)
ORDER BY (`topic`, `partition`, `offset`, `row`);

CREATE TABLE IF NOT EXISTS {database}.`intake`
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
ENGINE = ReplacingMergeTree(`last_offset`)
ORDER BY (`topic`, `partition`, `first_offset`);

CREATE TABLE IF NOT EXISTS {database}.`references`
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
ENGINE = ReplacingMergeTree(`effective_from`)
ORDER BY (`model`, `reference`);

CREATE TABLE IF NOT EXISTS {database}.`events`
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
ENGINE = ReplacingMergeTree(`offset`)
PARTITION BY toYYYYMM(`ts`)
ORDER BY (`model`, `version`, `role`, `ts`, `topic`, `partition`, `offset`, `row`);
