-- What a repeat by key is told beside the commit: how many rows were left out, and where they are.
ALTER TABLE ingest_key ADD COLUMN rejected BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ingest_key ADD COLUMN rejects TEXT;
