-- Exports that are asked for by a key, wait for their turn as jobs of kind `ticket`, and whose files are held for `held` microseconds. `run` is that of
-- the newest draw; none while it waits. What has become of it stands at the run.
CREATE TABLE ticket (
    id TEXT NOT NULL PRIMARY KEY,
    workspace TEXT NOT NULL REFERENCES workspace (id),
    door TEXT NOT NULL,
    key TEXT NOT NULL,
    definition TEXT NOT NULL,
    held BIGINT NOT NULL,
    drawn_at BIGINT NOT NULL,
    run TEXT REFERENCES run (id),
    failures BIGINT NOT NULL DEFAULT 0,
    reason TEXT,
    failed_at BIGINT
);
CREATE UNIQUE INDEX ticket_by_key ON ticket (workspace, door, key);
CREATE INDEX ticket_by_age ON ticket (drawn_at);

-- Runs whose files are held for tickets, also for those that were drawn anew since; until they are taken away.
CREATE TABLE ticket_run (
    run TEXT NOT NULL PRIMARY KEY REFERENCES run (id),
    ticket TEXT NOT NULL REFERENCES ticket (id),
    workspace TEXT NOT NULL,
    held_until BIGINT
);
CREATE INDEX ticket_run_by_ticket ON ticket_run (ticket);
CREATE INDEX ticket_run_by_end ON ticket_run (workspace, held_until) WHERE held_until IS NOT NULL;
