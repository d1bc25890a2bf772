-- An export may begin at a commit, `began`; what came before is for another one to deliver, whose runs end at `bound`.
ALTER TABLE export ADD COLUMN began BIGINT NOT NULL DEFAULT 0;
ALTER TABLE export ADD COLUMN bound BIGINT;
