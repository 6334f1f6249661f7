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

-- What does not work, from when that was told until it is told to be over.
CREATE TABLE outages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, -- project, host, login, receiver: where its cause lies
    name TEXT NOT NULL,
    things TEXT NOT NULL, -- JSON: identities of projects, or the name of the receiver
    cause TEXT NOT NULL,
    severity TEXT NOT NULL, -- that was told last
    since INTEGER NOT NULL,
    events TEXT NOT NULL, -- JSON: ids of those that told it
    told TEXT NOT NULL -- JSON: the receivers that they went to
) STRICT;

-- Hosts, logins and receivers that events were about: how many, as projects and tasks count theirs.
CREATE TABLE subjects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- An event need not be of one project any more. Dropping a constraint changes nothing of what is on the
-- disk, so the text of the schema is all there is to change (https://sqlite.org/lang_altertable.html, 7).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, 'project INTEGER NOT NULL REFERENCES', 'project INTEGER REFERENCES')
WHERE type = 'table' AND name = 'events';
PRAGMA writable_schema = RESET;
