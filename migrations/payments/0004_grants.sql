-- From when on nothing is taken without its customer's grant (`mercato/grants.py`).

-- Where there are payments already, orders were accepted before there were grants: their payments go on without, and
-- processes of the release before may call for an hour more, until they are replaced.
create table grants_demanded (
    since timestamptz not null
);
create unique index grants_demanded_once on grants_demanded ((true));

insert into grants_demanded (since)
    select now() + case when exists (select from payment) then interval '1 hour' else interval '0' end;

-- Nobody who serves may put it off.
revoke insert, update, delete on grants_demanded from mercato_payments;
