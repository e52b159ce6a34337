"""The server's side of calls that travel together: one message is opened, and each call in it goes its own way.

Calls of an rpc with a set form are done by it; the others by as many threads as are free, of which the one that brought
the message is the first, so that it never waits for a thread. One after the other would make each wait for all before
it: a handler mostly waits for its database's commit, and commits that meet are one.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, wait
from functools import partial
from itertools import chain
from typing import Any

from mercato.api.batch.v1 import batch_pb2 as pb
from mercato.errors import InvalidArgument, MercatoError, Overloaded
from mercato.policy import decide
from mercato.rpc import status
from mercato.rpc.admission import bearer
from mercato.rpc.contract import methods_of
from mercato.rpc.enforce import Arrival, Door, Enforced, Visit
from mercato.rpc.load import Load
from mercato.rpc.parcel import metadata_of, pack_outcome
from mercato.rpc.validation import check_readable, read
from mercato.telemetry import Counter

METHOD = methods_of(pb.DESCRIPTOR.services_by_name["BatchService"])[0]
MOST = 256
ROOM = 2 * 1024 * 1024
"""Bytes of replies in one message: half of what callers take."""
MESSAGES = Counter("mercato_rpc_messages", "Messages with calls that travelled together.")
PASSENGERS = Counter("mercato_rpc_passengers", "Calls in those messages.")
# What gRPC itself says of these, word for word.
_UNKNOWN = pb.Outcome(code=12, message="Method not found!")
_ALONE = pb.Outcome(code=14, message="no room in this message", alone=True)

Numbered = tuple[int, Arrival]


class BatchTooLarge(InvalidArgument):
    """Too many calls in one message."""

    reason = "BATCH_TOO_LARGE"


class Batch:
    """Answers `BatchService.Call` for the servicers of a process."""

    def __init__(self, servicers: Sequence[Enforced], crew: Executor, load: Load) -> None:
        self._doors = {
            door.method.path: door for each in servicers for door in each.doors if door.method.policy.together
        }
        self._verifier = servicers[0].verifier
        self._crew = crew
        self._load = load

    def __call__(self, request: pb.CallRequest, context: Any) -> pb.CallResponse:
        """Answer every call in the message, if its sender may send one."""
        try:
            verified = self._verifier.verify(bearer(dict(context.invocation_metadata())))
            decide(METHOD.policy, verified.principal, verified.service)
            check_readable(request)
            outcomes = self._outcomes(request.items)
        except MercatoError as refusal:
            context.set_trailing_metadata(tuple(status.trailers_of(refusal)))
            context.abort(status.code_of(refusal), status.text_of(refusal))
            outcomes = []
        return pb.CallResponse(outcomes=outcomes)

    def _outcomes(self, items: Sequence[pb.Item]) -> list[pb.Outcome]:
        if len(items) > MOST:
            raise BatchTooLarge(f"{len(items)} calls in one message; at most {MOST}")
        MESSAGES.add()
        PASSENGERS.add(amount=len(items))
        outcomes = [_UNKNOWN] * len(items)
        acts = [_acts(door, numbered, outcomes) for door, numbered in self._sorted(items, outcomes)]
        self._share_out(list(chain.from_iterable(acts)))
        return self._fitting(items, outcomes)

    def _fitting(self, items: Sequence[pb.Item], outcomes: Sequence[pb.Outcome]) -> list[pb.Outcome]:
        """The outcomes that one message has room for; what was only read is asked for again, alone."""
        fitting, left = list[pb.Outcome](), ROOM
        for item, outcome in zip(items, outcomes, strict=True):
            left -= len(outcome.reply)
            fits = left >= 0 or not fitting or not self._doors[item.method].method.policy.repeatable
            fitting.append(outcome if fits else _ALONE)
        return fitting

    def _sorted(self, items: Sequence[pb.Item], outcomes: list[pb.Outcome]) -> Iterable[tuple[Door, list[Numbered]]]:
        """The calls of each rpc that we have."""
        now, found = time.monotonic(), dict[str, list[Numbered]]()
        for number, item in enumerate(items):
            door = self._doors.get(item.method)
            if door is None:
                continue
            if self._load.refuses(door.method.policy.criticality):
                outcomes[number] = pack_outcome(None, Overloaded(), status.trailers_of(Overloaded()))
                continue
            request = read(door.method.request, item.request)
            ends = now + item.remaining_us / 1e6 if item.remaining_us else None
            found.setdefault(item.method, []).append((number, Arrival(request, metadata_of(item), ends)))
        return [(self._doors[method], numbered) for method, numbered in found.items()]

    def _share_out(self, acts: Sequence[Callable[[], None]]) -> None:
        """Have everything done, by this thread and whoever is free."""
        if len(acts) == 1:
            acts[0]()
            return
        left = deque(acts)
        helpers = [self._crew.submit(_help, left) for _ in range(len(acts) - 1)]
        _help(left)
        for each in helpers:
            each.cancel()
        for each in wait(helpers).done:
            if not each.cancelled():
                each.result()


def _help(left: deque[Callable[[], None]]) -> None:
    while left:
        try:
            act = left.popleft()
        except IndexError:
            return
        act()


def _acts(door: Door, numbered: Sequence[Numbered], outcomes: list[pb.Outcome]) -> Iterable[Callable[[], None]]:
    """What is to be done with the calls of one rpc: one piece with a set form, one for each without."""
    if door.set_form is not None and len(numbered) > 1:
        return [partial(_answer_all, door, numbered, outcomes)]
    return [partial(_answer, door, each, outcomes) for each in numbered]


def _answer(door: Door, numbered: Numbered, outcomes: list[pb.Outcome]) -> None:
    number, arrival = numbered
    outcomes[number] = _packed(door.answer(arrival))


def _answer_all(door: Door, numbered: Sequence[Numbered], outcomes: list[pb.Outcome]) -> None:
    visits = door.answer_all([arrival for _, arrival in numbered])
    for (number, _), visit in zip(numbered, visits, strict=True):
        outcomes[number] = _packed(visit)


def _packed(visit: Visit) -> pb.Outcome:
    return pack_outcome(visit.reply, visit.error, visit.trailers)
