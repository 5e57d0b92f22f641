-- What boards ask across all keys, in the order of time. The tables these are fed from are sorted by
-- what a row is about, so there a few hours of everything lie in as many places as there are keys.
--
-- The feeds run inside the insert and write by key, so rows that are stored twice change nothing.

CREATE TABLE IF NOT EXISTS {database}.`intake_by_time`
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
ORDER BY (`seen_at`, `topic`, `partition`, `first_offset`)
TTL `stored_at` + toIntervalDay(90);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`intake_by_time_feed`
TO {database}.`intake_by_time` AS
SELECT `topic`, `partition`, `first_offset`, `last_offset`, `messages`, `events`, `dead`, `late`,
    `capped`, `seen_at`
FROM {database}.`intake`;

-- How many predictions, failures and slow answers: all traffic, and what was folded.

CREATE TABLE IF NOT EXISTS {database}.`traffic`
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
ENGINE = ReplacingMergeTree(`revision`)
ORDER BY (`window_ms`, `window_start`, `column`, `model`, `version`, `role`, `segment`, `reference`)
TTL `stored_at` + toIntervalDay(90);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`traffic_feed`
TO {database}.`traffic` AS
SELECT `window_ms`, `window_start`, `window_end`, `column`, `model`, `version`, `role`, `segment`,
    `reference`, `revision`, `n`, `errors`, `p95`, `p99`
FROM {database}.`windows`
WHERE `column` IN ('error', 'latency_ms') AND (`segment` = 'all' OR endsWith(`segment`, '__other__'));

-- How close each column came to what fails it, in five minutes: `share` is the largest that was told
-- of any deciding detector, in millionths of its limit, at most 4,000 times the limit. It is its own
-- version: of two rows the larger one stays.

CREATE TABLE IF NOT EXISTS {database}.`evidence_peaks`
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
ENGINE = ReplacingMergeTree(`share`)
ORDER BY (`model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`)
TTL `stored_at` + toIntervalDay(400);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.`evidence_peaks_feed`
TO {database}.`evidence_peaks` AS
SELECT `model`, `version`, `role`, `segment`, `window_ms`,
    toStartOfFiveMinutes(toDateTime(`window_start`, 'UTC')) AS `span`, `column`,
    max(toUInt32(1000000 * greatest(0, least(4000, assumeNotNull(`statistic` / `threshold`))))) AS `share`
FROM {database}.`findings`
WHERE `decides` AND `threshold` > 0 AND `statistic` IS NOT NULL AND NOT isNaN(`statistic`)
GROUP BY `model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`;

INSERT INTO {database}.`intake_by_time`
SELECT `topic`, `partition`, `first_offset`, `last_offset`, `messages`, `events`, `dead`, `late`,
    `capped`, `seen_at`
FROM {database}.`intake`
WHERE `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO {database}.`traffic`
SELECT `window_ms`, `window_start`, `window_end`, `column`, `model`, `version`, `role`, `segment`,
    `reference`, `revision`, `n`, `errors`, `p95`, `p99`
FROM {database}.`windows`
WHERE `column` IN ('error', 'latency_ms') AND (`segment` = 'all' OR endsWith(`segment`, '__other__'))
    AND `stored_at` > now('UTC') - toIntervalDay(7);

INSERT INTO {database}.`evidence_peaks`
SELECT `model`, `version`, `role`, `segment`, `window_ms`,
    toStartOfFiveMinutes(toDateTime(`window_start`, 'UTC')) AS `span`, `column`,
    max(toUInt32(1000000 * greatest(0, least(4000, assumeNotNull(`statistic` / `threshold`))))) AS `share`
FROM {database}.`findings`
WHERE `decides` AND `threshold` > 0 AND `statistic` IS NOT NULL AND NOT isNaN(`statistic`)
    AND `stored_at` > now('UTC') - toIntervalDay(7)
GROUP BY `model`, `version`, `role`, `segment`, `window_ms`, `span`, `column`;
