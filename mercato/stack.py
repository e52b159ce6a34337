"""What a process is made of besides its own code, opened when first asked for and closed in reverse."""

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import grpc

from mercato import log
from mercato.auth import Signer, Verifier
from mercato.clock import Clock, SystemClock
from mercato.config import Settings
from mercato.errors import MercatoError
from mercato.rpc.call import Principal
from mercato.rpc.channel import Channels

if TYPE_CHECKING:
    from redis import Redis

    from mercato.kafka import Kafka
    from mercato.pagination import PageTokens
    from mercato.postgres import Database

S = TypeVar("S")
_log = log.get(__name__)


class Stack:
    """Databases, Kafka, Redis, channels, keys and the clock of one process."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.databases: dict[str, Database] = {}
        self._kafka: Kafka | None = None
        self._redis: Redis | None = None
        self._closers: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def database(
        self, schema: str, *, size: int = 4, constraints: Mapping[str, Callable[[], MercatoError]] | None = None
    ) -> "Database":
        """The pool of a schema; the same one whenever it is asked for."""
        from mercato.postgres import Database

        with self._lock:
            if schema not in self.databases:
                database = Database(self.settings.database_url, schema, size=size, constraints=constraints or {})
                self.databases[schema] = database
                self.closing(database.close)
            return self.databases[schema]

    def kafka(self) -> "Kafka":
        """The broker."""
        from mercato.kafka import Kafka

        with self._lock:
            if self._kafka is None:
                self._kafka = Kafka(self.settings.kafka_bootstrap)
                self.closing(self._kafka.close)
            return self._kafka

    def redis(self) -> "Redis":
        """The cache."""
        from mercato.cache import connect

        with self._lock:
            if self._redis is None:
                self._redis = connect(self.settings.redis_url, patience=self.settings.redis_patience.total_seconds())
                self.closing(self._redis.close)
            return self._redis

    def stub(self, cls: Callable[[grpc.Channel], S], principal: Principal | None = None, *, together: bool = True) -> S:
        """A stub of a neighbour; see `mercato.rpc.channel.Channels.stub`."""
        return self._channels.stub(cls, principal, together=together)

    @cached_property
    def signer(self) -> Signer:
        """Signs for this process."""
        return Signer.load(self.settings.keys, self.settings.name, development=self.settings.development)

    def unlock(self) -> None:
        """Read the keys now, rather than at the first call. UnfitKey if they are not for this process to use."""
        _ = self.signer, self.verifier

    @cached_property
    def verifier(self) -> Verifier:
        """Reads what callers signed for this process."""
        return Verifier(self.settings.keys, self.settings.name, development=self.settings.development)

    @cached_property
    def page_tokens(self) -> "PageTokens":
        """Seals page tokens."""
        from mercato.pagination import PageTokens

        return PageTokens(self.settings.secret.reveal())

    @cached_property
    def _channels(self) -> Channels:
        channels = Channels(self.signer, self.settings.targets, together=self.settings.together)
        self.closing(channels.close)
        return channels

    def closing(self, close: Callable[[], object]) -> None:
        """Have something closed at the end, before what was there earlier."""
        self._closers.append(close)

    def ready(self) -> bool:
        """Whether the databases answer. Others' absence makes no process unready: it has ways to do without."""
        return all(database.ready() for database in self.databases.values())

    def close(self) -> None:
        """Close everything, the last opened first."""
        while self._closers:
            close = self._closers.pop()
            try:
                close()
            except Exception:  # noqa: BLE001  the others are to be closed all the same
                _log.exception("close.failed")
