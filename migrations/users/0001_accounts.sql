-- Accounts, their sessions and addresses. Everything that tells who a person is lies in `users` and `addresses`, and is
-- emptied when the person is erased; the row itself stays, so that its id is never given away again.

create table users (
    id uuid primary key,
    -- As the person wrote it; null once erased.
    email text,
    password_hash text,
    display_name text not null,
    roles text[] not null default '{}',
    state text not null check (state in ('ACTIVE', 'ERASED')),
    version bigint not null check (version > 0),
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    check (state = 'ACTIVE' and email is not null and password_hash is not null
        or state = 'ERASED' and email is null and password_hash is null and display_name = '' and roles = '{}')
);

-- Nobody tells two mailboxes apart by the case of their letters.
create unique index users_email_key on users (lower(email));

-- What a session's token opens. The token itself is never stored.
create table sessions (
    id uuid primary key,
    token_hash text not null constraint sessions_token_key unique,
    -- A user's id, or that of a guest, who is nobody but this session.
    subject uuid not null,
    guest boolean not null,
    -- The guest that the session grew from.
    guest_id uuid,
    create_time timestamptz not null default now(),
    expire_time timestamptz not null,
    revoke_time timestamptz
);

create index sessions_subject on sessions (subject, create_time desc, id desc);
create index sessions_expire on sessions (expire_time);

-- Sessions whose copy in Redis must go. Written with the change, removed once Redis has heard of it: a process that dies
-- in between leaves its row to the next.
create table stale_copies (
    token_hash text primary key
);

create table addresses (
    id uuid primary key,
    user_id uuid not null references users,
    label text not null,
    recipient text not null,
    line1 text not null,
    line2 text not null,
    postal_code text not null,
    city text not null,
    country_code text not null,
    phone text not null,
    latitude double precision not null check (latitude between -90 and 90),
    longitude double precision not null check (longitude between -180 and 180),
    -- Empty where nobody delivers.
    zone_id text not null,
    version bigint not null check (version > 0),
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now()
);

create index addresses_user on addresses (user_id, create_time desc, id desc);

-- Orders that are not over yet, as order's events tell: a person with one is not erased.
create table open_orders (
    order_id uuid primary key,
    customer_id uuid not null
);

create index open_orders_customer on open_orders (customer_id);
