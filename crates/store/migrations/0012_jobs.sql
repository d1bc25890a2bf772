-- Saved exports run by themselves. `next_at` is told by the clock of the servers, leases of jobs by this database's.
ALTER TABLE export ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE export ADD COLUMN schedule TEXT NOT NULL DEFAULT '{}';
ALTER TABLE export ADD COLUMN watches TEXT;
ALTER TABLE export ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE export ADD COLUMN reason TEXT;
ALTER TABLE export ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE export ADD COLUMN next_at BIGINT;
ALTER TABLE export ADD COLUMN covered BIGINT;
-- The head when the last slot was made, for those that watch a dataset.
ALTER TABLE export ADD COLUMN fired_commit BIGINT NOT NULL DEFAULT 0;
CREATE INDEX export_due ON export (next_at) WHERE next_at IS NOT NULL AND state = 'active';

CREATE TABLE export_version (
    export TEXT NOT NULL REFERENCES export (id),
    version BIGINT NOT NULL,
    definition TEXT NOT NULL,
    schedule TEXT NOT NULL,
    author TEXT NOT NULL,
    saved_at BIGINT NOT NULL,
    PRIMARY KEY (export, version)
);
INSERT INTO export_version (export, version, definition, schedule, author, saved_at)
    SELECT id, 1, definition, '{}', 'its first run', created_at FROM export;

-- What is to be done: `subject` is the run of a job of kind `run`, which has the run's lease, and names the slot otherwise. Jobs of one `line` are done one
-- after another. `place` is taken from the workspace's count of openings.
CREATE TABLE job (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    line TEXT,
    place BIGINT NOT NULL,
    export TEXT REFERENCES export (id),
    slot_at BIGINT,
    slot_since BIGINT,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    epoch BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX job_by_subject ON job (kind, subject);
CREATE INDEX job_by_line ON job (line, place) WHERE line IS NOT NULL;
CREATE INDEX job_due ON job (due_at);
INSERT INTO job (id, workspace, kind, subject, line, place, due_at, created_at)
    SELECT 'jo_' || id, workspace, 'run', id, export, opened, created_at, created_at FROM run
    WHERE state IN ('planning', 'running', 'sealing');
