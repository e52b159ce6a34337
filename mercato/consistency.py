"""Reading what was written elsewhere: a call that presents a consistency token is answered when it has arrived here.

Replies to mutations name what they wrote: `service/aggregate` and version (`mercato-consistency`, opaque to callers).
A call that presents that (`x-consistency`) waits until this service has come so far,

* by its consumers' marks, for what another service wrote and this one follows on Kafka;
* by its projections' checkpoints, for what it wrote itself and the rpc reads through them (a servicer's `projected`);

half a second at most, or as long as the caller has. Then it says so: NotYetConsistent (503 with Retry-After). What this
service follows in no way is not waited for. Nobody without a token waits.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

from mercato.errors import NotYetConsistent
from mercato.rpc.call import current_call
from mercato.rpc.contract import Servicer
from mercato.topic import topic

if TYPE_CHECKING:
    from mercato.postgres import Database
    from mercato.projection import Projections

PATIENCE = 0.5
# Kept back of the caller's time (seconds), to say that it has not arrived.
ANSWER_IN = 0.05
LOOK_AGAIN = 0.01
UNHEARD: LiteralString = """
    select exists (
        select from unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
            as wanted (consumer, topic, aggregate_id, version)
        left join consumer_mark mark using (consumer, topic, aggregate_id)
        where coalesce(mark.version, 0) < wanted.version)
"""


class Horizon:
    """How far a service has come in what it follows."""

    def __init__(
        self,
        service: str,
        database: "Database",
        consumers: Mapping[str, Sequence[str]],
        projections: "Projections | None" = None,
    ) -> None:
        """`consumers`: the topics that each group of this service reads."""
        self._service = service
        self._database = database
        self._groups = [(group, each) for group, topics in consumers.items() for each in topics]
        self._projections = projections

    def await_written(self, written: Mapping[str, int], projected: Sequence[str]) -> None:
        """Return when these versions of aggregates have arrived here. NotYetConsistent."""
        heard = self._followed(written)
        own = self._own(written) if projected else {}
        if not heard and not own:
            return
        remaining = current_call().remaining
        patience = PATIENCE if remaining is None else min(PATIENCE, remaining - ANSWER_IN)
        deadline, pause = time.monotonic() + patience, threading.Event()
        while not self._reached(heard, own, projected):
            if time.monotonic() >= deadline:
                raise NotYetConsistent
            pause.wait(LOOK_AGAIN)

    def _followed(self, written: Mapping[str, int]) -> list[tuple[str, str, str, int]]:
        """What of it comes by Kafka: group, topic, aggregate and version."""
        found = []
        for name, version in written.items():
            service, _, aggregate = name.partition("/")
            found += [(group, of, aggregate, version) for group, of in self._groups if of == topic(service)]
        return found

    def _own(self, written: Mapping[str, int]) -> dict[UUID, int]:
        """What of it are streams of this service's own."""
        mine = ((name.partition("/"), version) for name, version in written.items())
        return {_uuid(id_): version for (service, _, id_), version in mine if service == self._service}

    def _reached(self, heard: Sequence[tuple[Any, ...]], own: Mapping[UUID, int], projected: Sequence[str]) -> bool:
        with self._database.reading() as connection:
            if heard:
                row = connection.execute(UNHEARD, [list(column) for column in zip(*heard, strict=True)]).fetchone()
                if row and row[0]:
                    return False
            if not own or self._projections is None or self._projections.reached(connection, projected, own):
                return True
        self._projections.wake(projected)  # it looks now and then; somebody is waiting
        return False


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)  # a token that was tampered with names what will never be there


class Patient:
    """A servicer whose answers to callers with a token wait until what they wrote is here."""

    def __init__(self, servicer: Servicer, horizon: Horizon) -> None:
        self.contract = servicer.contract
        # Calls that travel together bear no token: nobody is to wait for another's.
        self.together = getattr(servicer, "together", {})
        self.exempt = getattr(servicer, "exempt", None)
        projected: Mapping[str, Sequence[str]] = getattr(servicer, "projected", {})
        for method in self.contract.methods:
            if handler := getattr(servicer, method.name, None):
                setattr(self, method.name, _patient(handler, horizon, projected.get(method.name, ())))


def _patient(
    handler: Callable[[Any, Any], Any], horizon: Horizon, projected: Sequence[str]
) -> Callable[[Any, Any], Any]:
    def answer(request: Any, context: Any) -> Any:
        if written := current_call().consistency:
            horizon.await_written(written, projected)
        return handler(request, context)

    return answer


def patient(servicers: Iterable[Servicer], horizon: Horizon) -> list[Servicer]:
    """These, answering callers with a token when it is time."""
    return [Patient(each, horizon) for each in servicers]
