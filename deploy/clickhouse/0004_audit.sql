-- Made by `python -m deploy.generate` from deploy/sql/0004_audit.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`audit_local` ON CLUSTER 'driftline'
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
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/audit', '{replica}', `at`)
ORDER BY (`chain`, `sequence`)
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`audit` ON CLUSTER 'driftline'
AS `driftline`.`audit_local`
ENGINE = Distributed('driftline', 'driftline', 'audit_local', cityHash64(chain));

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (4, 'audit', 'b812667114e372796c9800f28533efe290f00ee369c0b38e67a5838d493dbedc');
