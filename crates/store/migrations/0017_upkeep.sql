-- Upkeep waits in the queue of jobs, each dataset's by itself, instead of being one process's duty. What is more urgent comes first.
ALTER TABLE job ADD COLUMN priority BIGINT NOT NULL DEFAULT 2;
UPDATE job SET priority = 3 WHERE kind = 'run' AND slot_at IS NULL;
DROP TABLE duty;
