-- What opens the files of a run for a while. The addresses given out for it are signed under its `key`, 32 random bytes; whoever reads this database reads
-- rows, too, so nothing is gained by sealing them.
CREATE TABLE link (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    run TEXT NOT NULL REFERENCES run (id),
    key BYTEA NOT NULL,
    author TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX link_by_workspace ON link (workspace, id);
CREATE INDEX link_by_end ON link (expires_at);
