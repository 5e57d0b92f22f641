-- What each verdict was judged by: the hash of its settings and the id of its reference; and the
-- settings themselves by their hash. A row's content never changes, as its key is its hash.

CREATE TABLE IF NOT EXISTS {database}.`configurations`
(
    `configuration` String,
    `content` String,
    `seen_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime('UTC') MATERIALIZED now('UTC')
)
ENGINE = ReplacingMergeTree(`seen_at`)
ORDER BY `configuration`;

ALTER TABLE {database}.`verdicts`
    ADD COLUMN IF NOT EXISTS `configuration` String AFTER `upstream`,
    ADD COLUMN IF NOT EXISTS `reference` String AFTER `configuration`;
