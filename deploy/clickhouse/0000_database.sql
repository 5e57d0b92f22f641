-- Made by `python -m deploy.generate`; do not change by hand. To be run first.

CREATE DATABASE IF NOT EXISTS `driftline` ON CLUSTER 'driftline';

-- Which migrations there are. Not sharded: every node of the cluster is a replica.
CREATE TABLE IF NOT EXISTS `driftline`.`migrations` ON CLUSTER 'driftline'
(number UInt32, name String, sha256 String, applied_at DateTime('UTC') DEFAULT now('UTC'))
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/driftline/migrations', '{shard}-{replica}', applied_at)
ORDER BY number;
