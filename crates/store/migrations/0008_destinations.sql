-- Named places for exports, and what is secret of them. Ids and names are TEXT, instants BIGINT microseconds.

-- `settings` is JSON; `version` grows with each change.
CREATE TABLE destination (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    settings TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (workspace, name)
);

-- `sealed` is a nonce and what AES-256-GCM made of the secret, under a key that is not in the database.
CREATE TABLE destination_secret (
    destination TEXT NOT NULL REFERENCES destination (id),
    field TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (destination, field)
);

-- The one key under which secrets are sealed now. Whoever seals holds its row until the secret is written.
CREATE TABLE secret_key (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    key_id TEXT NOT NULL
);
