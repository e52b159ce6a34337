"""Idempotency keys: which request made what, written in the transaction of the effect.

A key is claimed by inserting its row. Who comes second waits for the first one's transaction: if it commits, the second
finds what it made; if it rolls back, the key is free again, for a refused request does not use its key up.
"""

from typing import Any, LiteralString

from psycopg import Connection
from psycopg.errors import LockNotAvailable

from mercato.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from mercato.rpc.call import Key, current_call

__all__ = ["Idempotency", "Key"]

CLAIM: LiteralString = """
    insert into idempotency (principal, rpc, key, fingerprint) values (%s, %s, %s, %s) on conflict do nothing"""
FIND: LiteralString = """
    select fingerprint, resource_id from idempotency where principal = %s and rpc = %s and key = %s"""
MADE: LiteralString = """
    update idempotency set resource_id = %s where principal = %s and rpc = %s and key = %s"""
# How long the second of two equal requests waits for the first one's transaction.
BE_PATIENT: LiteralString = "set local lock_timeout = '1s'"
AS_BEFORE: LiteralString = "set local lock_timeout to default"


class Idempotency:
    """The keys of one transaction."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def find(self, key: Key | None) -> str | None:
        """Claim the key: None the first time, else the id of what it made.

        IdempotencyKeyReused if that was another request, IdempotencyKeyInUse if it is under way for more than a second.
        """
        if key is None:
            return None
        try:
            claimed = self._claim(key)
        except LockNotAvailable:
            raise IdempotencyKeyInUse from None
        return None if claimed else self.peek(key)

    def _claim(self, key: Key) -> bool:
        self._connection.execute(BE_PATIENT)
        claimed = self._connection.execute(CLAIM, [key.principal, key.rpc, key.key, key.fingerprint]).rowcount
        self._connection.execute(AS_BEFORE)
        return claimed == 1

    def peek(self, key: Key | None) -> str | None:
        """The id of what the key made, without claiming it: None if it made nothing yet. IdempotencyKeyReused."""
        if key is None:
            return None
        found = self._connection.execute(FIND, [key.principal, key.rpc, key.key]).fetchone()
        if found is None:
            return None
        fingerprint, resource_id = found
        if bytes(fingerprint) != key.fingerprint:
            raise IdempotencyKeyReused("this idempotency key was used for another request; choose a new one")
        current_call().replayed = True
        return str(resource_id)

    def made(self, key: Key | None, resource_id: str) -> None:
        """Note what the claimed key made."""
        if key is not None:
            self._connection.execute(MADE, [resource_id, key.principal, key.rpc, key.key])
