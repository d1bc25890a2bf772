-- Several datasets with one trigger and one destination; `body` is JSON. Each dataset's export has the name of its group, also after it has left.
CREATE TABLE export_group (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    version BIGINT NOT NULL,
    author TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (workspace, name)
);
ALTER TABLE export ADD COLUMN group_name TEXT;
-- The state that an export had when its dataset left the group; null while it is in.
ALTER TABLE export ADD COLUMN left_state TEXT;
CREATE INDEX export_by_group ON export (workspace, group_name) WHERE group_name IS NOT NULL;
