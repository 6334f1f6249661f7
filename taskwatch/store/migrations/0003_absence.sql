-- Whole lists do not show it any more; and how often that was told. How long it is missing so far is
-- counted by each run for itself.
ALTER TABLE tasks DROP COLUMN absent_polls;
ALTER TABLE tasks DROP COLUMN absent_since;
ALTER TABLE tasks ADD COLUMN gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1));
ALTER TABLE tasks ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;

-- Enrolling a project: which of its tasks had not ended? Few of many.
DROP INDEX tasks_open;
CREATE INDEX tasks_open ON tasks (project) WHERE open = 1 AND gone = 0;

-- Retention: which tasks that have ended or are gone has nothing happened to for long?
DROP INDEX tasks_ended;
CREATE INDEX tasks_over ON tasks (changed_at) WHERE (open = 0 OR gone = 1);
