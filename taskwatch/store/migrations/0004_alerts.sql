-- What needs attention: opened by an event, and over once ended_at is set. A row stays as long as its event.
CREATE TABLE alerts (
    event INTEGER PRIMARY KEY REFERENCES events (seq), -- that opened it
    project INTEGER REFERENCES projects (id),
    job_id TEXT,
    ended_at INTEGER,
    why TEXT,
    by TEXT, -- the job id of the task that ended it, or the operator
    comment TEXT,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    acknowledged_until INTEGER, -- NULL: for as long as it is open
    acknowledgement TEXT -- what was said with it
) STRICT;

-- A poll that changed something: which alerts may it end? Few of many.
CREATE INDEX alerts_open ON alerts (project, job_id) WHERE ended_at IS NULL;

-- Who was told of an alert, and hears its end. Unlike deliveries these follow a receiver that is renamed.
CREATE TABLE hearers (
    alert INTEGER NOT NULL REFERENCES alerts (event),
    receiver TEXT NOT NULL,
    -- Of receivers that keep alerts:
    labels TEXT, -- JSON: the name by which it knows the alert; NULL: it has not heard of it
    fired_seconds REAL NOT NULL DEFAULT 0.0, -- for which it was repeated
    settled INTEGER NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)), -- it need not hear of it any more
    PRIMARY KEY (alert, receiver)
) STRICT, WITHOUT ROWID;

-- What is a receiver to keep? And, where one is renamed, what was it told of?
CREATE INDEX hearers_receiver ON hearers (receiver, settled);
