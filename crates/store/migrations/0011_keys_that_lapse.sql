-- When the key of a request for rows is forgotten; never without.
ALTER TABLE ingest_key ADD COLUMN until BIGINT;
CREATE INDEX ingest_key_by_end ON ingest_key (until) WHERE until IS NOT NULL;
