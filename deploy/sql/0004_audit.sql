-- The audit trail: chains of hashes, one for each model and one for the fleet. Rows are only ever
-- added; the same row stored twice is one.

CREATE TABLE IF NOT EXISTS {database}.`audit`
(
    `chain` String,
    `sequence` UInt64,
    `at` DateTime64(3, 'UTC'),
    `kind` LowCardinality(String),
    `model` String,
    `version` String,
    `role` LowCardinality(String),
    `subject` String,
    `by` String,
    `body` String,
    `previous` String,
    `hash` String,
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`at`)
ORDER BY (`chain`, `sequence`);
