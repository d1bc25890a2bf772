-- Upkeep waits in the queue of jobs, each dataset's by itself, instead of being one process's duty. What is more urgent comes first.
ALTER TABLE job ADD COLUMN priority BIGINT NOT NULL DEFAULT 2;
UPDATE job SET priority = 3 WHERE kind = 'run' AND slot_at IS NULL;
DROP TABLE duty;

-- When what a failed or cancelled run had written was last taken away.
ALTER TABLE run ADD COLUMN cleaned_at BIGINT;
UPDATE run SET cleaned_at = ended_at + 3600000000 WHERE state IN ('failed', 'cancelled');
CREATE INDEX run_to_clean ON run (workspace, ended_at) WHERE state IN ('failed', 'cancelled');

-- What is forgotten is found by its age.
CREATE INDEX run_sealed_by_age ON run (ended_at) WHERE state = 'sealed';
CREATE INDEX run_key_of_all ON run_key (created_at);

-- An export that was deleted has another name, so that its own is free, and stays for its runs.
ALTER TABLE export ADD COLUMN deleted_name TEXT;
