-- Made by `python -m deploy.generate` from deploy/sql/0006_configurations.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

CREATE TABLE IF NOT EXISTS `driftline`.`configurations_local` ON CLUSTER 'driftline'
(
    `configuration` String,
    `content` String,
    `seen_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/{shard}/configurations', '{replica}', `seen_at`)
ORDER BY `configuration`
SETTINGS storage_policy = 'driftline_tiers';

CREATE TABLE IF NOT EXISTS `driftline`.`configurations` ON CLUSTER 'driftline'
AS `driftline`.`configurations_local`
ENGINE = Distributed('driftline', 'driftline', 'configurations_local', cityHash64(configuration));

ALTER TABLE `driftline`.`verdicts_local` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `configuration` String AFTER `upstream`,
    ADD COLUMN IF NOT EXISTS `reference` String AFTER `configuration`;

ALTER TABLE `driftline`.`verdicts` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `configuration` String AFTER `upstream`,
    ADD COLUMN IF NOT EXISTS `reference` String AFTER `configuration`;

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (6, 'configurations', 'b446ac6404d8d053147ab2039c6b8e11e269607bc6b16785325b2ac69d4f3639');
