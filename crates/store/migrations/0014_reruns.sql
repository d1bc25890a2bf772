-- The pin of a run that was sealed is kept for a while under the kind 'kept', so that it can be run again from the same files.
CREATE INDEX pin_by_at_commit ON pin (workspace, owner_kind, at_commit);
CREATE INDEX pin_by_head ON pin (workspace, owner_kind, head);
