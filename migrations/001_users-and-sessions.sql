-- Up Migration
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table users (
  id uuid primary key,
  email text not null,
  email_canonical text not null unique,
  password_hash text not null,
  display_name text,
  epoch integer not null default 0,
  disabled_at timestamptz,
  created_at timestamptz not null default date_trunc('milliseconds', clock_timestamp()),
  updated_at timestamptz not null default date_trunc('milliseconds', clock_timestamp())
);

create table sessions (
  id uuid primary key,
  user_id uuid not null references users (id) on delete cascade,
  generation integer not null default 0,
  nonce_hash bytea not null,
  rotated_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  idle_expires_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoked_reason text,
  ip inet,
  user_agent text
);
create index sessions_user_id_idx on sessions (user_id, last_seen_at desc);

create table revocations (
  id bigint generated always as identity primary key,
  session_id uuid not null,
  xid xid8 not null default pg_current_xact_id(),
  at timestamptz not null default clock_timestamp()
);
create index revocations_xid_idx on revocations (xid);

-- Down Migration
set local lock_timeout = '2s';
set local statement_timeout = '60s';

drop table revocations;
drop table sessions;
drop table users;
