"""Idempotency keys: which request made what, written in the transaction of the effect.

A key is claimed by inserting its row. Who comes second waits for the first one's transaction: if it commits, the second
finds what it made; if it rolls back, the key is free again, for a refused request does not use its key up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.errors import LockNotAvailable

from mercato.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from mercato.rpc.call import Key, current_call

__all__ = ["Idempotency", "Key"]

# One message to the server. The lock timeout is put back by what depends on the rows' being written or not.
CLAIM: LiteralString = """
    with patience as materialized (
        select current_setting('lock_timeout') as before, set_config('lock_timeout', %s, true) as now),
    claimed as (
        insert into idempotency (principal, rpc, key, fingerprint, resource_id)
        select new.* from patience, unnest(%b::text[], %b::text[], %b::text[], %b::bytea[], %b::text[]) as new
        where now is not null on conflict do nothing returning 1),
    counted as materialized (select count(*) as n from claimed)
    select n, set_config('lock_timeout', case when n >= 0 then before end, true) from counted, patience"""
FIND: LiteralString = """
    select principal, rpc, key, fingerprint, resource_id from idempotency
    join unnest(%b::text[], %b::text[], %b::text[]) as wanted (principal, rpc, key) using (principal, rpc, key)"""
MADE: LiteralString = """
    update idempotency set resource_id = %s where principal = %s and rpc = %s and key = %s"""
RELEASE: LiteralString = """
    delete from idempotency using unnest(%s::text[], %s::text[], %s::text[]) as refused (principal, rpc, key)
    where (idempotency.principal, idempotency.rpc, idempotency.key) = (refused.principal, refused.rpc, refused.key)"""
# How long the second of two equal requests waits for the first one's transaction.
PATIENCE = "1s"


class Made(NamedTuple):
    """The request that a key was used for, by its fingerprint, and the id of what that made."""

    fingerprint: bytes
    resource_id: str


def recognised(key: Key, made: Made | None) -> str | None:
    """The id of what the key made: the present call is a repeat then. None if it made nothing. IdempotencyKeyReused."""
    if made is None:
        return None
    if made.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("this idempotency key was used for another request; choose a new one")
    current_call().replayed = True
    return made.resource_id


class Idempotency:
    """The keys of one transaction."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def find(self, key: Key | None, making: str = "") -> str | None:
        """Claim the key: None the first time, else the id of what it made. Whoever knows what it makes says it here.

        IdempotencyKeyReused if that was another request, IdempotencyKeyInUse if it is under way for more than a second.
        """
        if key is None:
            return None
        return None if self.claim({key: making}) else self.peek(key)

    def claim(self, making: Mapping[Key, str]) -> bool:
        """Claim keys for what each makes. False if one of them was used before. IdempotencyKeyInUse, as above."""
        if not making:
            return True
        rows = [
            (key.principal, key.rpc, key.key, key.fingerprint, made) for key, made in sorted(making.items(), key=str)
        ]
        try:
            row = self._connection.execute(CLAIM, [PATIENCE, *map(list, zip(*rows, strict=True))]).fetchone()
        except LockNotAvailable:
            raise IdempotencyKeyInUse from None
        return bool(row and row[0] == len(rows))

    def release(self, keys: Sequence[Key]) -> None:
        """Give back claimed keys of what was refused, while others of the transaction keep theirs."""
        if keys:
            columns = zip(*((key.principal, key.rpc, key.key) for key in keys), strict=True)
            self._connection.execute(RELEASE, [list(column) for column in columns])

    def peek(self, key: Key | None) -> str | None:
        """The id of what the key made, without claiming it: None if it made nothing yet. IdempotencyKeyReused."""
        return recognised(key, self.look_up([key]).get(key)) if key else None

    def look_up(self, keys: Sequence[Key]) -> dict[Key, Made]:
        """What keys were used for, of those that were."""
        columns = zip(*((key.principal, key.rpc, key.key) for key in keys), strict=True)
        rows = self._connection.execute(FIND, [list(column) for column in columns])
        found = {(principal, rpc, key): Made(bytes(digest), made) for principal, rpc, key, digest, made in rows}
        names = {key: (key.principal, key.rpc, key.key) for key in keys}
        return {key: found[name] for key, name in names.items() if name in found}

    def made(self, key: Key | None, resource_id: str) -> None:
        """Note what the claimed key made."""
        if key is not None:
            self._connection.execute(MADE, [resource_id, key.principal, key.rpc, key.key])
