-- The lake's catalog and the export ledger. One text for SQLite and PostgreSQL: ids and JSON are TEXT,
-- numbers BIGINT, instants BIGINT microseconds since 1970 in UTC.

-- `head` is the newest commit and `opened` counts runs: both dense, both taken by updating this row,
-- which is also the lock that orders commits and pins.
CREATE TABLE workspace (
    id TEXT NOT NULL PRIMARY KEY,
    head BIGINT NOT NULL DEFAULT 0,
    head_time BIGINT,
    opened BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE dataset (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    time_column TEXT,
    schema_id TEXT NOT NULL,
    schema_since BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    dropped_at BIGINT
);
CREATE INDEX dataset_by_workspace ON dataset (workspace);

-- `since` is the commit from which on this is the dataset's schema; 0 for the first one.
CREATE TABLE dataset_schema (
    dataset TEXT NOT NULL REFERENCES dataset (id),
    since BIGINT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (dataset, since)
);
CREATE INDEX dataset_schema_by_id ON dataset_schema (dataset, id);

CREATE TABLE saved_view (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, name)
);

-- The names in use among live datasets and views.
CREATE TABLE relation_name (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    dataset TEXT REFERENCES dataset (id),
    PRIMARY KEY (workspace, name)
);
CREATE INDEX relation_name_by_dataset ON relation_name (dataset);

CREATE TABLE lake_commit (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    kind TEXT NOT NULL,
    dataset TEXT REFERENCES dataset (id),
    row_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    file_count BIGINT NOT NULL,
    PRIMARY KEY (workspace, number)
);
CREATE INDEX lake_commit_by_dataset ON lake_commit (dataset, number);

-- A batch may be reserved before its data exists; then it has no commit yet.
CREATE TABLE batch (
    workspace TEXT NOT NULL REFERENCES workspace (id),
    id TEXT NOT NULL,
    dataset TEXT REFERENCES dataset (id),
    commit_number BIGINT,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX batch_by_commit ON batch (workspace, commit_number);

-- `place` is the order of arrival inside a commit, `first_commit` the least commit among the rows.
CREATE TABLE data_file (
    id TEXT NOT NULL PRIMARY KEY,
    dataset TEXT NOT NULL REFERENCES dataset (id),
    batch TEXT NOT NULL,
    object_key TEXT NOT NULL,
    schema_id TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    codec TEXT NOT NULL,
    added BIGINT NOT NULL,
    removed BIGINT,
    first_commit BIGINT NOT NULL,
    place BIGINT NOT NULL,
    runs TEXT NOT NULL,
    statistics TEXT NOT NULL
);
CREATE INDEX data_file_by_added ON data_file (dataset, added);
CREATE INDEX data_file_by_removed ON data_file (dataset, removed);

CREATE TABLE ingest_key (
    dataset TEXT NOT NULL REFERENCES dataset (id),
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    commit_number BIGINT NOT NULL,
    PRIMARY KEY (dataset, key)
);

CREATE TABLE export (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    cursor_commit BIGINT NOT NULL,
    last_run TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (workspace, name)
);

-- `opened` is the run's place in the order of opening; `lease_until` is told by this database's clock.
CREATE TABLE run (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    opened BIGINT NOT NULL,
    export TEXT REFERENCES export (id),
    definition TEXT NOT NULL,
    advance TEXT NOT NULL,
    state TEXT NOT NULL,
    from_commit BIGINT NOT NULL,
    to_commit BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    cancel_asked BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    UNIQUE (workspace, opened)
);
CREATE INDEX run_by_export ON run (export, to_commit);
-- At most one open run per cursor, whatever the program believes.
CREATE UNIQUE INDEX run_open_by_export ON run (export)
    WHERE advance = 'cursor' AND state IN ('planning', 'running', 'sealing');

-- Plan and manifest lie beside their run, so that renewing a lease does not rewrite them.
CREATE TABLE run_plan (
    run TEXT NOT NULL PRIMARY KEY REFERENCES run (id),
    body TEXT NOT NULL
);

CREATE TABLE run_manifest (
    run TEXT NOT NULL PRIMARY KEY REFERENCES run (id),
    body TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    file_count BIGINT NOT NULL,
    sidecar_name TEXT,
    sidecar_body TEXT
);

-- The counts of a receipt are columns of their own, so that sums are made here.
CREATE TABLE part (
    run TEXT NOT NULL REFERENCES run (id),
    sequence BIGINT NOT NULL,
    split BIGINT NOT NULL,
    name TEXT NOT NULL,
    inputs TEXT NOT NULL,
    rows_planned BIGINT NOT NULL,
    written BIGINT NOT NULL DEFAULT 0,
    rows_read BIGINT NOT NULL DEFAULT 0,
    rows_out BIGINT NOT NULL DEFAULT 0,
    bytes_out BIGINT NOT NULL DEFAULT 0,
    receipt TEXT,
    PRIMARY KEY (run, sequence, split)
);

CREATE TABLE intent (
    run TEXT NOT NULL REFERENCES run (id),
    sequence BIGINT NOT NULL,
    split BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    token TEXT NOT NULL,
    PRIMARY KEY (run, sequence, split, epoch, object_key, token)
);

-- What may not be removed: everything alive at `at_commit` for a run, every row after it for a cursor.
CREATE TABLE pin (
    owner_kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    at_commit BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_kind, owner)
);
CREATE INDEX pin_by_workspace ON pin (workspace, at_commit);
