-- Days after which rows of the dataset are removed; none without a rule.
ALTER TABLE dataset ADD COLUMN keep_days BIGINT;
