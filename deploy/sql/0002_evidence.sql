-- What accumulated evidence says beside its outcome, and what a verdict still expects.

ALTER TABLE {database}.`findings`
    ADD COLUMN IF NOT EXISTS `effect` Nullable(Float64) AFTER `evidence`,
    ADD COLUMN IF NOT EXISTS `effect_low` Nullable(Float64) AFTER `effect`,
    ADD COLUMN IF NOT EXISTS `effect_high` Nullable(Float64) AFTER `effect_low`,
    ADD COLUMN IF NOT EXISTS `direction` String AFTER `effect_high`,
    ADD COLUMN IF NOT EXISTS `onset` DateTime64(3, 'UTC') AFTER `direction`;

ALTER TABLE {database}.`verdicts`
    ADD COLUMN IF NOT EXISTS `further_events` Nullable(Float64) AFTER `columns`,
    ADD COLUMN IF NOT EXISTS `further_ms` Nullable(Float64) AFTER `further_events`,
    ADD COLUMN IF NOT EXISTS `upstream` Array(String) AFTER `further_ms`;
