-- What operators did and ask for. A command inserts; the daemon logs each, and does those that only it can do.
CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL,
    argument TEXT NOT NULL, -- JSON
    by TEXT NOT NULL, -- whom to ask why: user, uid, host
    at INTEGER NOT NULL,
    outcome TEXT, -- JSON; NULL: the daemon has yet to do it
    logged INTEGER NOT NULL DEFAULT 0 CHECK (logged IN (0, 1))
) STRICT;

-- The daemon, whenever somebody else wrote: what is new?
CREATE INDEX operations_new ON operations (id) WHERE logged = 0;

-- Receivers with a backlog that are configured no more, and since when that is known.
CREATE TABLE removed_receivers (
    receiver TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An operator sends it again. It has a number of its own, at the end of the queue.
ALTER TABLE deliveries ADD COLUMN replay INTEGER NOT NULL DEFAULT 0 CHECK (replay IN (0, 1));

-- {project: how its watching goes}, as the daemon last said.
ALTER TABLE freshness ADD COLUMN conditions TEXT NOT NULL DEFAULT '{}';
