-- Up Migration
set local lock_timeout = '2s';
set local statement_timeout = '60s';

create table alerts (
  id uuid primary key,
  fingerprint text not null,
  name text not null,
  status text not null,
  severity text not null,
  summary text,
  description text,
  labels jsonb not null,
  starts_at timestamptz not null,
  ends_at timestamptz,
  received_at timestamptz not null default now(),
  unique (fingerprint, starts_at)
);
create index alerts_received_at_idx on alerts (received_at desc);

-- Down Migration
set local lock_timeout = '2s';
set local statement_timeout = '60s';

drop table alerts;
