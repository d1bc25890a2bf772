-- Keys of requests for runs. The run's row may come later in the same transaction.
CREATE TABLE run_key (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, key)
);
CREATE INDEX run_key_by_age ON run_key (workspace, created_at);

-- What an executor looks for.
CREATE INDEX run_unfinished ON run (created_at) WHERE state IN ('planning', 'running', 'sealing');

-- Work that one process does for all; `until` is told by this database's clock.
CREATE TABLE duty (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL
);
