-- Up Migration
set local lock_timeout = '5s';
set local statement_timeout = '60s';

-- A page that is full when its sessions are opened has no room for their next versions: the first refresh of each would move it to
-- another page, and so change every index (not HOT).
-- It waits for a vacuum, and nobody waits behind it.
alter table sessions set (fillfactor = 90);

-- Down Migration
set local lock_timeout = '5s';
set local statement_timeout = '60s';

alter table sessions reset (fillfactor);
