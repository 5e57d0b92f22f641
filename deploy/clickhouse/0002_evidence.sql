-- Made by `python -m deploy.generate` from deploy/sql/0002_evidence.sql; do not change by hand.
-- For a cluster 'driftline' with the macros {shard} and {replica} and the storage policy 'driftline_tiers'.

ALTER TABLE `driftline`.`findings_local` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `effect` Nullable(Float64) AFTER `evidence`,
    ADD COLUMN IF NOT EXISTS `effect_low` Nullable(Float64) AFTER `effect`,
    ADD COLUMN IF NOT EXISTS `effect_high` Nullable(Float64) AFTER `effect_low`,
    ADD COLUMN IF NOT EXISTS `direction` String AFTER `effect_high`,
    ADD COLUMN IF NOT EXISTS `onset` DateTime64(3, 'UTC') AFTER `direction`;

ALTER TABLE `driftline`.`findings` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `effect` Nullable(Float64) AFTER `evidence`,
    ADD COLUMN IF NOT EXISTS `effect_low` Nullable(Float64) AFTER `effect`,
    ADD COLUMN IF NOT EXISTS `effect_high` Nullable(Float64) AFTER `effect_low`,
    ADD COLUMN IF NOT EXISTS `direction` String AFTER `effect_high`,
    ADD COLUMN IF NOT EXISTS `onset` DateTime64(3, 'UTC') AFTER `direction`;

ALTER TABLE `driftline`.`verdicts_local` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `further_events` Nullable(Float64) AFTER `columns`,
    ADD COLUMN IF NOT EXISTS `further_ms` Nullable(Float64) AFTER `further_events`,
    ADD COLUMN IF NOT EXISTS `upstream` Array(String) AFTER `further_ms`;

ALTER TABLE `driftline`.`verdicts` ON CLUSTER 'driftline' ADD COLUMN IF NOT EXISTS `further_events` Nullable(Float64) AFTER `columns`,
    ADD COLUMN IF NOT EXISTS `further_ms` Nullable(Float64) AFTER `further_events`,
    ADD COLUMN IF NOT EXISTS `upstream` Array(String) AFTER `further_ms`;

INSERT INTO `driftline`.`migrations` (number, name, sha256) VALUES (2, 'evidence', 'd833aaa2874581fdca40ab9671cd8c2d98f4ed5ca8aea11f8a15b2f8a5f97f73');
