-- Rows and files that end: batches that were taken back, files that were merged into others.

ALTER TABLE batch ADD COLUMN taken_back BIGINT;

ALTER TABLE lake_commit ADD COLUMN rows_removed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_commit ADD COLUMN files_removed BIGINT NOT NULL DEFAULT 0;

-- The commit that wrote the file; a merged one stands for its rows since long before. 0: the one in `added`.
ALTER TABLE data_file ADD COLUMN written BIGINT NOT NULL DEFAULT 0;

-- Objects that are out of the catalog: merged into others, ended long ago, or never in it. `retired` is the
-- commit that merged or ended them, 0 without one, `retired_at` when. `doomed` is 1 while it is being
-- deleted and 2 for leftovers that are.
CREATE TABLE retired_file (
    object_key TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    byte_count BIGINT NOT NULL,
    retired BIGINT NOT NULL,
    retired_at BIGINT NOT NULL,
    doomed BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX retired_file_by_workspace ON retired_file (workspace, doomed);

CREATE INDEX data_file_by_key ON data_file (object_key);

-- Snapshots before `horizon` can no longer be read: files of theirs are deleted.
ALTER TABLE dataset ADD COLUMN horizon BIGINT NOT NULL DEFAULT 0;

-- The newest commit when the pin was made: what was retired by then is not read by its owner.
ALTER TABLE pin ADD COLUMN head BIGINT NOT NULL DEFAULT 0;
