"""The tables and functions in the database, and how an earlier version's become these.

Whatever must be true of a commit is checked in the function that makes it, so that a commit is one
statement: one trip to the database, all of it or nothing. Nothing depends on the connection, so
that a pooler may give each statement another one. Functions switch `synchronous_commit` on,
whatever the database has set.

Texts are ASCII (`text`). Rows of results are only inserted, except that `not_attempted` is
replaced: a database cleans up slowly behind rows that change while anything reads for long.
"""

from __future__ import annotations

from typing import LiteralString

LEASE_LOST = "PL001"
RESULT_EXISTS = "PL002"
CLAIM_OF_RESULT = "PL003"

WANTED_S = 3.0
"""How long a process is in line for a lease after it last asked."""

_TABLES: LiteralString = """
create table pipeline.installation (
    version int not null,
    id uuid not null default gen_random_uuid()
);
insert into pipeline.installation (version) values (0);

create table pipeline.runs (
    sequence bigint generated always as identity primary key,
    name text not null unique,
    run_id text unique,
    sha256 text not null,
    state text not null,
    started timestamptz not null,
    ended timestamptz,
    checksum bigint not null,
    record text not null
);
create index runs_by_content on pipeline.runs (sha256);
create index unfinished_runs on pipeline.runs (sequence) where state in ('prepared', 'sending');
create table pipeline.shares (
    run text not null,
    account text not null,
    number int not null,
    parts int not null,
    is_open boolean not null,
    is_done boolean not null default false,
    stopped text not null default '',
    attempts int not null default 0,
    progress text not null default '',
    primary key (run, account, number)
);
create table pipeline.orders (run text primary key, checksum bigint not null, record text not null);

create table pipeline.leases (
    name text primary key,
    epoch bigint not null default 0,
    token text not null default '',
    host text not null default '',
    pid int not null default 0,
    command text not null default '',
    since timestamptz,
    until timestamptz,
    ttl_s float8 not null default 0
);
create table pipeline.lease_queue (
    place bigint generated always as identity,
    name text not null,
    token text not null,
    until timestamptz not null,
    primary key (name, token)
);

create table pipeline.departures (
    number bigint generated always as identity primary key,
    quota_group text not null,
    noted timestamptz not null,
    needed_until timestamptz not null,
    under_way int not null,
    ages_s float8[] not null,
    counts int[] not null,
    checksum bigint not null
);
create index departures_by_group on pipeline.departures (quota_group, number);
create index departures_by_time on pipeline.departures (quota_group, needed_until);
create table pipeline.pauses (
    quota_group text primary key,
    until timestamptz not null,
    asked timestamptz,
    checksum bigint not null,
    record text not null
);

create table pipeline.ledgers (
    number int generated always as identity primary key,
    run text unique,
    made timestamptz not null default clock_timestamp()
);
create table pipeline.parts (
    ledger int not null,
    part smallint not null,
    account text not null,
    number int not null,
    parts int not null,
    primary key (ledger, part),
    unique (ledger, account, number, parts)
);
create table pipeline.commits (
    ledger int not null,
    part smallint not null,
    number bigint not null,
    epoch bigint not null,
    digest bigint not null,
    claims_digest bigint not null,
    open_from bigint not null,
    claims bigint[] not null,
    released bigint[],
    primary key (ledger, part, number)
);
create index releases on pipeline.commits (ledger, part, number) where released is not null;
create table pipeline.results (
    row bigint not null,
    ledger int not null,
    checksum int not null,
    part smallint not null,
    status text not null,
    record text not null,
    primary key (ledger, row)
);
create table pipeline.exchanges (
    ledger int not null,
    row bigint not null,
    chars int not null,
    checksum bigint not null,
    record text not null,
    primary key (ledger, row)
);
create table pipeline.previous_states (
    ledger int not null,
    row bigint not null,
    checksum bigint not null,
    record text not null,
    primary key (ledger, row)
);
create table pipeline.samples (
    ledger int not null,
    number bigint generated always as identity,
    part smallint not null,
    account text not null,
    at_s float8 not null,
    checksum bigint not null,
    record text not null,
    primary key (ledger, at_s, number)
);
create table pipeline.legs (
    ledger int not null,
    part smallint not null,
    number int not null,
    account text not null,
    checksum bigint not null,
    record text not null,
    primary key (ledger, part, number, account)
);

create table pipeline.files (
    number bigint generated always as identity primary key,
    run text not null,
    name text,
    bytes bigint,
    sha256 text,
    made timestamptz not null default clock_timestamp(),
    unique (run, name)
);
create table pipeline.pieces (
    file bigint not null,
    number int not null,
    checksum bigint not null,
    data bytea not null,
    primary key (file, number)
);
alter table pipeline.pieces alter column data set storage external;
"""  # the pieces are compressed already

_DIGEST: LiteralString = """
create function pipeline.digest(a_text text) returns bigint language sql immutable as $$
    select ('x' || encode(substr(sha256(convert_to(a_text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint
$$;
"""

_FENCE: LiteralString = """
create function pipeline.fence(a_lease text, an_epoch bigint) returns void language plpgsql as $$
begin
    perform set_config('synchronous_commit', 'on', true);
    perform set_config('lock_timeout', '20s', true);
    -- plans outlive the time when a table was empty
    perform set_config('enable_seqscan', 'off', true);
    if a_lease is not null then
        perform 1 from pipeline.leases l
        where l.name = a_lease and l.epoch = an_epoch for share;
        if not found then
            raise exception 'the lease is lost' using errcode = 'PL001';
        end if;
    end if;
end $$;
"""

_RECORD: LiteralString = """
create function pipeline.record(
    a_ledger int, a_part smallint, a_number bigint, a_lease text, an_epoch bigint, a_digest bigint,
    a_claims_digest bigint, an_open_from bigint, some_claims bigint[], some_released bigint[],
    some_rows bigint[], some_statuses text[], some_checksums bigint[], some_records text
) returns void language plpgsql as $$
declare
    ended bigint;
    found_rows bigint;
begin
    perform pipeline.fence(a_lease, an_epoch);
    insert into pipeline.commits values (
        a_ledger, a_part, a_number, an_epoch, a_digest, a_claims_digest, an_open_from, some_claims,
        some_released
    );
    if cardinality(some_claims) > 0 then
        select min(r.row) filter (where r.status <> 'not_attempted'), count(*)
        into ended, found_rows
        from pipeline.results r where r.ledger = a_ledger and r.row = any (some_claims);
        if ended is not null then
            raise exception '%', ended using errcode = 'PL003';
        end if;
        if found_rows > 0 then
            delete from pipeline.results r
            where r.ledger = a_ledger and r.row = any (some_claims);
        end if;
    end if;
    if cardinality(some_rows) > 0 then
        insert into pipeline.results as r (row, ledger, checksum, part, status, record)
        select u.row, a_ledger, (case when u.checksum < 2147483648 then u.checksum
            else u.checksum - 4294967296 end)::int, a_part, u.status, u.record
        from unnest(
            some_rows, some_checksums, some_statuses, string_to_array(some_records, E'\\n')
        ) u (row, checksum, status, record)
        on conflict (ledger, row) do update set checksum = excluded.checksum,
            part = excluded.part, status = excluded.status, record = excluded.record
        where r.status = 'not_attempted';
        get diagnostics found_rows = row_count;
        if found_rows <> cardinality(some_rows) then
            raise exception 'a row has a result' using errcode = 'PL002';
        end if;
    end if;
end $$;
"""

_RECORD_MORE: LiteralString = """
create function pipeline.record_more(
    a_ledger int, exchange_rows bigint[], exchange_chars bigint[], exchange_checksums bigint[],
    exchange_records text, most_chars bigint, previous_rows bigint[],
    previous_checksums bigint[], previous_records text
) returns void language plpgsql as $$
declare
    chars_left bigint;
    each record;
begin
    if cardinality(exchange_rows) > 0 then
        select most_chars - coalesce(sum(e.chars), 0) into chars_left
        from pipeline.exchanges e where e.ledger = a_ledger;
        for each in select * from unnest(
            exchange_rows, exchange_chars, exchange_checksums,
            string_to_array(exchange_records, E'\\n')
        ) u (row, chars, checksum, record) loop
            continue when each.chars > chars_left;
            chars_left := chars_left - each.chars;
            insert into pipeline.exchanges
            values (a_ledger, each.row, each.chars, each.checksum, each.record)
            on conflict (ledger, row) do update set chars = excluded.chars,
                checksum = excluded.checksum, record = excluded.record;
        end loop;
    end if;
    if cardinality(previous_rows) > 0 then
        insert into pipeline.previous_states select a_ledger, u.* from unnest(
            previous_rows, previous_checksums, string_to_array(previous_records, E'\\n')
        ) u on conflict (ledger, row) do update set checksum = excluded.checksum,
            record = excluded.record;
    end if;
end $$;

create function pipeline.record_all(
    a_ledger int, a_part smallint, a_number bigint, a_lease text, an_epoch bigint, a_digest bigint,
    a_claims_digest bigint, an_open_from bigint, some_claims bigint[], some_released bigint[],
    some_rows bigint[], some_statuses text[], some_checksums bigint[], some_records text,
    exchange_rows bigint[], exchange_chars bigint[], exchange_checksums bigint[],
    exchange_records text, most_chars bigint, previous_rows bigint[],
    previous_checksums bigint[], previous_records text
) returns void language plpgsql as $$
begin
    perform pipeline.record(
        a_ledger, a_part, a_number, a_lease, an_epoch, a_digest, a_claims_digest, an_open_from,
        some_claims, some_released, some_rows, some_statuses, some_checksums, some_records
    );
    perform pipeline.record_more(
        a_ledger, exchange_rows, exchange_chars, exchange_checksums, exchange_records, most_chars,
        previous_rows, previous_checksums, previous_records
    );
end $$;
"""

# A page is read in the order of the key, whatever the statistics of a growing table suggest:
# sorting what is left for each page would take ever longer.
_PAGE: LiteralString = """
create function pipeline.page_of_results(
    a_ledger int, a_part smallint, first_row bigint, last_row bigint, most int
) returns table (a_row bigint, a_status text, a_checksum bigint, a_record text)
language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
begin
    return query select r.row, r.status, r.checksum::bigint & 4294967295, r.record
    from pipeline.results r
    where r.ledger = a_ledger and r.row between first_row and last_row
    and (a_part is null or r.part = a_part)
    order by r.row limit most;
end $$;
"""

_SAMPLE: LiteralString = """
create function pipeline.sample(
    a_ledger int, a_part smallint, a_lease text, an_epoch bigint,
    sample_accounts text, sample_times_s float8[], sample_checksums bigint[], sample_records text,
    leg_numbers bigint[], leg_accounts text, leg_checksums bigint[], leg_records text
) returns void language plpgsql as $$
begin
    perform pipeline.fence(a_lease, an_epoch);
    insert into pipeline.samples (ledger, part, account, at_s, checksum, record)
    select a_ledger, a_part, u.account, u.at_s, u.checksum, u.record from unnest(
        string_to_array(sample_accounts, E'\\n'), sample_times_s, sample_checksums,
        string_to_array(sample_records, E'\\n')
    ) with ordinality u (account, at_s, checksum, record, place) order by u.place;
    insert into pipeline.legs select a_ledger, a_part, u.* from unnest(
        leg_numbers, string_to_array(leg_accounts, E'\\n'), leg_checksums,
        string_to_array(leg_records, E'\\n')
    ) u on conflict (ledger, part, number, account) do update set
        checksum = excluded.checksum, record = excluded.record;
end $$;
"""

_LEASES: LiteralString = """
create function pipeline.is_free(a_lease pipeline.leases) returns boolean language sql stable as $$
    -- a holder that could not renew while the database was down gets the time to do it
    select a_lease.until is null or clock_timestamp() > greatest(
        a_lease.until, pg_postmaster_start_time() + make_interval(secs => a_lease.ttl_s)
    )
$$;

create function pipeline.take_lease(
    a_name text, a_token text, a_ttl_s float8, a_host text, a_pid int, a_command text,
    a_place_s float8
) returns bigint language plpgsql as $$
declare
    held pipeline.leases;
    first_in_line text;
begin
    perform pipeline.fence(null, 0);
    insert into pipeline.leases (name) values (a_name) on conflict do nothing;
    select * into held from pipeline.leases l where l.name = a_name for update;
    if held.until is not null and held.token = a_token then  -- the answer to its call was lost
        update pipeline.leases l set until = clock_timestamp() + make_interval(secs => a_ttl_s)
        where l.name = a_name;
        return held.epoch;
    end if;
    delete from pipeline.lease_queue q where q.name = a_name and q.until < clock_timestamp();
    select q.token into first_in_line
    from pipeline.lease_queue q where q.name = a_name order by q.place limit 1;
    if pipeline.is_free(held) and coalesce(first_in_line, a_token) = a_token then
        delete from pipeline.lease_queue q where q.name = a_name and q.token = a_token;
        update pipeline.leases l set epoch = held.epoch + 1, token = a_token, host = a_host,
            pid = a_pid, command = a_command, since = clock_timestamp(), ttl_s = a_ttl_s,
            until = clock_timestamp() + make_interval(secs => a_ttl_s)
        where l.name = a_name;
        return held.epoch + 1;
    end if;
    insert into pipeline.lease_queue as q (name, token, until)
    values (a_name, a_token, clock_timestamp() + make_interval(secs => a_place_s))
    on conflict (name, token) do update set until = excluded.until;
    return null;
end $$;

create function pipeline.renew_lease(
    a_name text, a_token text, an_epoch bigint, a_ttl_s float8
) returns boolean language plpgsql as $$
begin
    perform pipeline.fence(null, 0);
    update pipeline.leases l set until = clock_timestamp() + make_interval(secs => a_ttl_s)
    where l.name = a_name and l.epoch = an_epoch and l.token = a_token;
    return found;
end $$;

create function pipeline.release_lease(
    a_name text, a_token text, an_epoch bigint
) returns void language plpgsql as $$
begin
    perform pipeline.fence(null, 0);
    delete from pipeline.lease_queue q where q.name = a_name and q.token = a_token;
    update pipeline.leases l set until = null, token = '', since = null
    where l.name = a_name and l.epoch = an_epoch and l.token = a_token;
end $$;
"""

_LEFT: LiteralString = """
create function pipeline.left_requests(
    a_group text, some_ages_s float8[], some_counts int[], an_under_way int, a_needed_s float8,
    a_forget_s float8, a_checksum bigint
) returns bigint language plpgsql as $$
declare
    entry bigint;
begin
    perform pipeline.fence(null, 0);
    delete from pipeline.departures d where d.quota_group = a_group
    and d.needed_until < clock_timestamp() - make_interval(secs => a_forget_s);
    -- one at a time: a reader that knows the last number would miss a lower one committed later
    perform pg_advisory_xact_lock(hashtextextended(a_group, 0));
    insert into pipeline.departures (
        quota_group, noted, needed_until, under_way, ages_s, counts, checksum
    ) values (
        a_group, clock_timestamp(), clock_timestamp() - make_interval(secs => a_needed_s),
        an_under_way, some_ages_s, some_counts, a_checksum
    ) returning number into entry;
    return entry;
end $$;
"""

# `counts` are those of the results of a part, up to a commit. Commits of an earlier version have
# none, and none follow them until a process opens the part to write. Damaged ones count as none.
_COUNTS: LiteralString = """
alter table pipeline.commits add column counts int[], add column counts_digest bigint;
create index results_left on pipeline.results (ledger, row)
where status in ('unknown', 'not_attempted');

create function pipeline.counted_statuses() returns text[] language sql immutable as $$
    select array['updated', 'unchanged', 'superseded', 'invalid', 'rejected', 'conflict', 'failed',
        'unknown']
$$;

create function pipeline.counts_digest(
    a_ledger int, a_part smallint, a_number bigint, some_counts int[]
) returns bigint language sql immutable as $$
    select pipeline.digest(concat_ws(' ', a_ledger, a_part, a_number, some_counts::text))
$$;

create function pipeline.kept_counts(
    a_ledger int, a_part smallint, a_number bigint
) returns int[] language plpgsql stable as $$
begin
    if a_number = 0 then
        return array_fill(0, array[cardinality(pipeline.counted_statuses())]);
    end if;
    return (
        select c.counts from pipeline.commits c
        where c.ledger = a_ledger and c.part = a_part and c.number = a_number
        and c.counts_digest = pipeline.counts_digest(a_ledger, a_part, a_number, c.counts)
    );
end $$;

create function pipeline.counts_after(
    a_ledger int, a_part smallint, a_number bigint, some_statuses text[]
) returns int[] language plpgsql stable as $$
declare
    kept int[] := pipeline.kept_counts(a_ledger, a_part, a_number);
begin
    if kept is null or cardinality(some_statuses) = 0 then
        return kept;
    end if;
    return (
        select array_agg(k.kept + coalesce(n.count, 0) order by k.place)
        from unnest(pipeline.counted_statuses(), kept) with ordinality k (status, kept, place)
        left join (
            select u.status, count(*)::int from unnest(some_statuses) u (status) group by 1
        ) n on n.status = k.status
    );
end $$;

create function pipeline.counts_at(
    a_ledger int, a_part smallint, a_number bigint
) returns int[] language sql stable as $$
    select coalesce(pipeline.kept_counts(a_ledger, a_part, a_number), (
        select array_agg(coalesce(n.count, 0) order by k.place)
        from unnest(pipeline.counted_statuses()) with ordinality k (status, place)
        left join (
            select r.status, count(*)::int from pipeline.results r
            where r.ledger = a_ledger and r.part = a_part group by 1
        ) n on n.status = k.status
    ))
$$;

create function pipeline.keep_counts(
    a_ledger int, a_part smallint, a_number bigint
) returns void language sql as $$
    update pipeline.commits c set counts = n.counts,
        counts_digest = pipeline.counts_digest(a_ledger, a_part, a_number, n.counts)
    from (select pipeline.counts_at(a_ledger, a_part, a_number) as counts) n
    where c.ledger = a_ledger and c.part = a_part and c.number = a_number
    and pipeline.kept_counts(a_ledger, a_part, a_number) is null
$$;
"""

_RECORD_COUNTED: LiteralString = """
create or replace function pipeline.record(
    a_ledger int, a_part smallint, a_number bigint, a_lease text, an_epoch bigint, a_digest bigint,
    a_claims_digest bigint, an_open_from bigint, some_claims bigint[], some_released bigint[],
    some_rows bigint[], some_statuses text[], some_checksums bigint[], some_records text
) returns void language plpgsql as $$
declare
    counted int[];
    ended bigint;
    found_rows bigint;
begin
    perform pipeline.fence(a_lease, an_epoch);
    counted := pipeline.counts_after(a_ledger, a_part, a_number - 1, some_statuses);
    insert into pipeline.commits values (
        a_ledger, a_part, a_number, an_epoch, a_digest, a_claims_digest, an_open_from, some_claims,
        some_released, counted, pipeline.counts_digest(a_ledger, a_part, a_number, counted)
    );
    if cardinality(some_claims) > 0 then
        select min(r.row) filter (where r.status <> 'not_attempted'), count(*)
        into ended, found_rows
        from pipeline.results r where r.ledger = a_ledger and r.row = any (some_claims);
        if ended is not null then
            raise exception '%', ended using errcode = 'PL003';
        end if;
        if found_rows > 0 then
            delete from pipeline.results r
            where r.ledger = a_ledger and r.row = any (some_claims);
        end if;
    end if;
    if cardinality(some_rows) > 0 then
        insert into pipeline.results as r (row, ledger, checksum, part, status, record)
        select u.row, a_ledger, (case when u.checksum < 2147483648 then u.checksum
            else u.checksum - 4294967296 end)::int, a_part, u.status, u.record
        from unnest(
            some_rows, some_checksums, some_statuses, string_to_array(some_records, E'\\n')
        ) u (row, checksum, status, record)
        on conflict (ledger, row) do update set checksum = excluded.checksum,
            part = excluded.part, status = excluded.status, record = excluded.record
        where r.status = 'not_attempted';
        get diagnostics found_rows = row_count;
        if found_rows <> cardinality(some_rows) then
            raise exception 'a row has a result' using errcode = 'PL002';
        end if;
    end if;
end $$;
"""

MIGRATIONS: tuple[LiteralString, ...] = (
    _TABLES + _DIGEST + _FENCE + _RECORD + _RECORD_MORE + _PAGE + _SAMPLE + _LEASES + _LEFT,
    _COUNTS + _RECORD_COUNTED,
)
"""Number n makes the tables of version n those of version n + 1. New ones are only appended."""
