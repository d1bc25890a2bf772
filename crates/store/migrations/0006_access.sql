-- Who may do what. Ids and names are TEXT, instants BIGINT microseconds since 1970 in UTC.

CREATE TABLE organization (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
INSERT INTO organization (id, name, created_at) VALUES ('default', 'default', 0);

-- The name of a workspace that was there before is its id.
ALTER TABLE workspace ADD COLUMN name TEXT;
ALTER TABLE workspace ADD COLUMN organization TEXT REFERENCES organization (id);
ALTER TABLE workspace ADD COLUMN created_at BIGINT NOT NULL DEFAULT 0;
UPDATE workspace SET name = id, organization = 'default';
CREATE UNIQUE INDEX workspace_by_name ON workspace (organization, name);

CREATE TABLE principal (
    id TEXT NOT NULL PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    UNIQUE (organization, name)
);

-- `scopes` are words with a space between; a token without a workspace opens all of the organization's.
CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    principal TEXT NOT NULL REFERENCES principal (id),
    workspace TEXT REFERENCES workspace (id),
    sha256 TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    used_at BIGINT
);
CREATE INDEX token_by_principal ON token (principal);

-- Written before a change; `outcome` after it. `actor` is JSON.
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    time BIGINT NOT NULL,
    actor TEXT NOT NULL,
    organization TEXT NOT NULL REFERENCES organization (id),
    workspace TEXT REFERENCES workspace (id),
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    request TEXT,
    outcome TEXT
);
CREATE INDEX audit_by_workspace ON audit (organization, workspace, id);
