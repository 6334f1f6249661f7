-- Operators set them: for a time nobody is told of some events.
CREATE TABLE silences (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    matchers TEXT NOT NULL, -- JSON: as they were written
    begins_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL, -- earlier than was meant, once it was expired
    by TEXT NOT NULL,
    comment TEXT
) STRICT;

-- What people are written: one text about one event or several, or about what is still open.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of sending
    event_id TEXT NOT NULL, -- under which it is told: made of its content
    receiver TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead', 'dropped')),
    at INTEGER NOT NULL, -- when it was composed
    attempts INTEGER NOT NULL DEFAULT 0,
    poisoned INTEGER NOT NULL DEFAULT 0,
    tried_seconds REAL NOT NULL DEFAULT 0.0,
    first_attempt_at INTEGER,
    last_attempt_at INTEGER,
    done_at INTEGER,
    replay INTEGER NOT NULL DEFAULT 0 CHECK (replay IN (0, 1)),
    last_reason TEXT,
    last_detail TEXT,
    why TEXT,
    reminds TEXT, -- JSON: of which alerts; NULL: it tells events
    body BLOB NOT NULL -- last: what is looked for stands before it
) STRICT;

-- A lane: its next messages in their order.
CREATE INDEX messages_pending ON messages (receiver, id) WHERE state = 'pending';

-- Of which groups is a message? And when had a group its last one?
CREATE TABLE message_groups (
    receiver TEXT NOT NULL,
    group_key TEXT NOT NULL,
    message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (receiver, group_key, message)
) STRICT, WITHOUT ROWID;

CREATE INDEX message_groups_message ON message_groups (message);

ALTER TABLE deliveries ADD COLUMN group_key TEXT; -- of receivers that write to people
ALTER TABLE deliveries ADD COLUMN message INTEGER REFERENCES messages (id); -- by which it is told
ALTER TABLE deliveries ADD COLUMN held_by TEXT; -- the silence or window

-- What does a message tell?
CREATE INDEX deliveries_message ON deliveries (message) WHERE message IS NOT NULL;

-- What waits for the end of a silence?
CREATE INDEX deliveries_held ON deliveries (id) WHERE state = 'held';

-- The end of an alert is told in the group of its beginning, to those that want to hear it.
ALTER TABLE hearers ADD COLUMN group_key TEXT;
ALTER TABLE hearers ADD COLUMN hears_end INTEGER NOT NULL DEFAULT 1 CHECK (hears_end IN (0, 1));
ALTER TABLE hearers ADD COLUMN reminded_at INTEGER; -- when a reminder of it was delivered last

-- What is told of a project, a host or a receiver keeps its order too.
CREATE INDEX events_subject ON events (subject) WHERE job_id IS NULL;

-- Attempts that failed, the last few of each delivery or message.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    delivery INTEGER REFERENCES deliveries (id) ON DELETE CASCADE,
    message INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- What was tried? Also by the deletion of what it belongs to.
CREATE INDEX attempts_delivery ON attempts (delivery) WHERE delivery IS NOT NULL;
CREATE INDEX attempts_message ON attempts (message) WHERE message IS NOT NULL;
