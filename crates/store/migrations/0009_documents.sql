-- Versioned JSON of workspaces. `body` is JSON, `etag` changes with each write, instants are BIGINT microseconds.
CREATE TABLE document (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    etag TEXT NOT NULL,
    author TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, kind, id)
);
