-- Batches that are uploaded in files. `node` is the data folder that takes them, `settings` JSON; `version` grows with each
-- change of the files, so that a commit closes what its writer has read.
CREATE TABLE upload (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    batch TEXT NOT NULL,
    node TEXT NOT NULL,
    settings TEXT NOT NULL,
    version BIGINT NOT NULL,
    is_open BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, batch)
);
CREATE INDEX upload_open ON upload (changed_at) WHERE is_open = 1;
CREATE INDEX upload_open_by_workspace ON upload (workspace) WHERE is_open = 1;

CREATE TABLE upload_file (
    workspace TEXT NOT NULL,
    batch TEXT NOT NULL,
    name TEXT NOT NULL,
    byte_count BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    object_key TEXT NOT NULL,
    PRIMARY KEY (workspace, batch, name),
    FOREIGN KEY (workspace, batch) REFERENCES upload (workspace, batch)
);

-- What lies in a node's folder: 0 while it is written, 1 as a file of an open batch, 2 when nobody needs it. The row is
-- there from before the first byte until the last one is gone.
CREATE TABLE upload_object (
    object_key TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    workspace TEXT NOT NULL,
    batch TEXT NOT NULL,
    state BIGINT NOT NULL,
    begun_at BIGINT NOT NULL
);
CREATE INDEX upload_object_by_batch ON upload_object (workspace, batch);
CREATE INDEX upload_object_left ON upload_object (node, begun_at) WHERE state <> 1;
