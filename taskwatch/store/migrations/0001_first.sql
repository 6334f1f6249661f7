-- Times are whole microseconds since 1970 in UTC: exact, and in the order of time when compared,
-- indexed or taken the maximum of. To read one: SELECT datetime(time / 1000000, 'unixepoch').

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    host TEXT NOT NULL,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0, -- counts commits; each names the one it is built upon
    sequence INTEGER NOT NULL DEFAULT 0, -- of the events about the project itself
    baseline_at INTEGER,
    observed_at INTEGER,
    UNIQUE (service, host, project_id)
) STRICT;

CREATE TABLE tasks (
    project INTEGER NOT NULL REFERENCES projects (id),
    job_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    open INTEGER NOT NULL CHECK (open IN (0, 1)), -- has not ended; the model decides it, not SQL
    progress INTEGER,
    fail_reason TEXT,
    created_at INTEGER,
    ended_at INTEGER,
    instance_id TEXT,
    instance_name TEXT,
    instance_status TEXT,
    revision INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    pending_status TEXT,
    pending_count INTEGER NOT NULL,
    changed_at INTEGER NOT NULL, -- when this row was written last
    absent_polls INTEGER NOT NULL DEFAULT 0,
    absent_since INTEGER,
    PRIMARY KEY (project, job_id)
) STRICT, WITHOUT ROWID;

-- Enrolling a project: which of its tasks had not ended? Few of many.
CREATE INDEX tasks_open ON tasks (project) WHERE open = 1;

-- Retention: which ended tasks has nothing happened to for long?
CREATE INDEX tasks_ended ON tasks (changed_at) WHERE open = 0;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of recording; a number is never used twice
    id TEXT NOT NULL UNIQUE,
    project INTEGER NOT NULL REFERENCES projects (id),
    subject TEXT NOT NULL,
    job_id TEXT,
    type TEXT NOT NULL,
    severity TEXT NOT NULL,
    summary TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    time INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Retention: which events are old? Commands: --since.
CREATE INDEX events_time ON events (time);

-- Retention: does any event of this task remain?
CREATE INDEX events_task ON events (project, job_id) WHERE job_id IS NOT NULL;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL REFERENCES events (seq),
    receiver TEXT NOT NULL,
    path TEXT NOT NULL, -- of the route that named the receiver
    state TEXT NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'held', 'delivered', 'dead', 'dropped', 'suppressed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    poisoned INTEGER NOT NULL DEFAULT 0,
    tried_seconds REAL NOT NULL DEFAULT 0.0,
    last_reason TEXT,
    last_detail TEXT,
    why TEXT, -- a delivery is dead
    first_attempt_at INTEGER,
    last_attempt_at INTEGER,
    done_at INTEGER,
    body BLOB, -- only where it is not the event's own
    UNIQUE (event, receiver) -- an event goes to a receiver once; finds the deliveries of an event
) STRICT;

-- A lane: its next pending deliveries in the order of recording, however many are done.
CREATE INDEX deliveries_pending ON deliveries (receiver, id) WHERE state = 'pending';

-- One row: {project: observed_at} of the polls that changed nothing and so wrote nothing.
CREATE TABLE freshness (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    observed TEXT NOT NULL
) STRICT;
