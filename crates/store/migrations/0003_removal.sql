-- Rows and files that end: batches that were taken back, files that were merged into others.

ALTER TABLE batch ADD COLUMN taken_back BIGINT;

ALTER TABLE lake_commit ADD COLUMN rows_removed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lake_commit ADD COLUMN files_removed BIGINT NOT NULL DEFAULT 0;

-- The commit that wrote the file; a merged one stands for its rows since long before. 0: the one in `added`.
ALTER TABLE data_file ADD COLUMN written BIGINT NOT NULL DEFAULT 0;

-- Files that a compaction has merged: no snapshot names them, but who began to read them may go on.
-- `retired` is the commit that merged them, `retired_at` its time.
CREATE TABLE retired_file (
    object_key TEXT NOT NULL PRIMARY KEY,
    dataset TEXT NOT NULL REFERENCES dataset (id),
    byte_count BIGINT NOT NULL,
    retired BIGINT NOT NULL,
    retired_at BIGINT NOT NULL
);
CREATE INDEX retired_file_by_dataset ON retired_file (dataset, retired);
