-- The tail: rows of small commits, as bytes of files that no object store has yet.

-- Whether the file's bytes are in `tail`.
ALTER TABLE data_file ADD COLUMN in_tail BIGINT NOT NULL DEFAULT 0;

-- The greatest commit among the rows, so that an increment finds its files; files of before may have any.
ALTER TABLE data_file ADD COLUMN last_commit BIGINT NOT NULL DEFAULT 9223372036854775807;
CREATE INDEX data_file_by_last_commit ON data_file (dataset, last_commit);

CREATE INDEX data_file_in_tail ON data_file (dataset, added) WHERE in_tail = 1;

CREATE TABLE tail (
    file TEXT NOT NULL PRIMARY KEY,
    body BYTEA NOT NULL
);

-- What of the dataset is in the tail, and since when.
ALTER TABLE dataset ADD COLUMN tail_files BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_rows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dataset ADD COLUMN tail_since BIGINT;
