-- How far read models that follow this schema's events have come. A projection's rows belong to a generation: a new one
-- is filled beside the one that is read, and takes its place when this table says so.
create table projection (
    name text not null,
    generation int not null check (generation > 0),
    live boolean not null default false,
    -- The database that the checkpoint was made in: a restored copy has another epoch, and its numbers mean other events.
    epoch text not null default '',
    -- The last event of all that it holds, in the order of commits.
    xid xid8 not null default '0',
    position bigint not null default 0,
    create_time timestamptz not null default clock_timestamp(),
    update_time timestamptz not null default clock_timestamp(),
    primary key (name, generation)
);
create unique index projection_live on projection (name) where live;
grant select on projection to mercato_auditor;
