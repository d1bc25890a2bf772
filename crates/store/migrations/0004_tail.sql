-- The tail: rows of small commits, as bytes of files that no object store has yet.

-- Whether the file's bytes are in `tail`.
ALTER TABLE data_file ADD COLUMN in_tail BIGINT NOT NULL DEFAULT 0;

CREATE INDEX data_file_in_tail ON data_file (dataset) WHERE in_tail = 1;

CREATE TABLE tail (
    file TEXT NOT NULL PRIMARY KEY,
    body BYTEA NOT NULL
);

-- What of the dataset is in the tail, and since when.
ALTER TABLE dataset ADD COLUMN tail_files BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_rows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_since BIGINT;
