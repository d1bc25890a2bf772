-- Workspaces that a door knows under names of its own and serves by itself since `since`; what it makes was asked for up to `covered`. `sealed` is as in
-- `destination_secret`.
CREATE TABLE enrolment (
    door TEXT NOT NULL,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    since BIGINT NOT NULL,
    covered BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (door, workspace)
);
CREATE TABLE enrolment_name (
    door TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    workspace TEXT NOT NULL,
    PRIMARY KEY (door, kind, name)
);
CREATE INDEX enrolment_name_by_workspace ON enrolment_name (door, workspace);

-- Tickets of one lane wait for each other; one may be of a range of commits.
ALTER TABLE ticket ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE ticket ADD COLUMN from_commit BIGINT;
ALTER TABLE ticket ADD COLUMN to_commit BIGINT;
-- Until when one that failed rests.
ALTER TABLE ticket ADD COLUMN again_at BIGINT;
CREATE INDEX ticket_by_failure ON ticket (door, again_at) WHERE again_at IS NOT NULL;
