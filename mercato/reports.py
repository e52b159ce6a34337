"""Work of more than one transaction, done once for each key of a request: its reply is kept, and told to a repeat.

Where one transaction holds both effect and key, `Idempotency` is the way. What is done here may be done again without
harm (an import, an audit, a comparison with the provider): a process that dies in between leaves no key, and whoever
asks again has it done to the end.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, LiteralString, TypeVar

from google.protobuf.message import Message
from psycopg.errors import LockNotAvailable

from mercato.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from mercato.idempotency import PATIENCE
from mercato.postgres import Database, Session
from mercato.rpc.call import Key, current_call
from mercato.sqlstate import translated

M = TypeVar("M", bound=Message)

FIND: LiteralString = "select fingerprint, reply from idempotency where principal = %s and rpc = %s and key = %s"
KEEP: LiteralString = "insert into idempotency (principal, rpc, key, fingerprint, reply) values (%s, %s, %s, %s, %s)"
ALONE: LiteralString = "select pg_advisory_lock(hashtextextended(%s, 0))"


class Reports:
    """The replies that a service keeps by the keys of their requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def once(self, key: Key | None, kind: type[M], do: Callable[[], M], digest: Callable[[], bytes] | None = None) -> M:
        """What `do` answers, or answered. Where a request is not known before its end, `digest` reads it to there.

        IdempotencyKeyReused if the key was another request's, IdempotencyKeyInUse if that is under way.
        """
        if key is None:
            return do()
        with translated({}), self._alone(key) as connection:
            found = connection.execute(FIND, [key.principal, key.rpc, key.key]).fetchone()
            if found is None:
                reply = do()
                told = digest() if digest else key.fingerprint
                connection.execute(KEEP, [key.principal, key.rpc, key.key, told, reply.SerializeToString()])
                return reply
            if bytes(found[0]) != (digest() if digest else key.fingerprint):
                raise IdempotencyKeyReused("this idempotency key was used for another request; choose a new one")
        current_call().replayed = True
        return kind.FromString(found[1])

    @contextmanager
    def _alone(self, key: Key) -> Iterator[Session]:
        """A connection that holds the key for as long as the block lasts; the process' end lets it go."""
        with self._database.dedicated() as connection:
            connection.execute("select set_config('lock_timeout', %s, false)", [PATIENCE])
            try:
                connection.execute(ALONE, [f"report/{key.principal}/{key.rpc}/{key.key}"])
            except LockNotAvailable:
                raise IdempotencyKeyInUse from None
            yield connection


class Keyed:
    """The messages of a stream whose first one names the request, and a digest of all that came."""

    def __init__(self, requests: Iterator[Any]) -> None:
        """Waits for the first message."""
        first = next(requests, None)
        self.key = current_call().named(getattr(first, "request_id", ""))
        self._digest = hashlib.sha256()
        self._left = self._seen(chain([] if first is None else [first], requests))

    def __iter__(self) -> Iterator[Any]:
        """Those that nobody has read yet."""
        return self._left

    def _seen(self, requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            if self.key:
                request.ClearField("request_id")
                self._digest.update(request.SerializeToString(deterministic=True))
            yield request

    def digest(self) -> bytes:
        """The digest, once the stream has ended. What nobody wanted to read is read."""
        for _ in self:
            pass
        return self._digest.digest()
