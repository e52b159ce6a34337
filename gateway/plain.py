"""Reads by nobody in particular of what gateways keep: what is not kept is asked of its service on the shortest way."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.protobuf.message import Message

from gateway.calls import Caller, Visit
from gateway.conditions import etag_of
from gateway.contract import ETAG, Binding, Operation
from gateway.keeping import KeptReply, Key, Replies
from gateway.limits import SECURITY
from gateway.problems import Problem
from gateway.routes import MethodNotAllowed, RouteNotFound, Router
from gateway.sharing import SharedReplies
from gateway.shedding import Shedding
from gateway.transcode import Transcoder
from mercato.policy import Keeping

_LONGEST = 1024  # bytes of an address; a longer one goes the long way, where it is judged
_REMEMBERED = 2048  # addresses of which it is known what they ask for
_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "public, no-cache",  # kept by whoever likes, and asked about: it may change any second
    "Vary": "Authorization, Cookie, Accept-Encoding",
    **SECURITY,
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


class PlainRead:
    """Reads what one binding of an operation is for, for nobody in particular."""

    def __init__(
        self,
        operation: Operation,
        binding: Binding,
        transcoder: Transcoder,
        caller: Caller,
        replies: Replies,
        shared: SharedReplies,
    ) -> None:
        """A read of an operation whose replies are kept."""
        assert operation.policy.keeping
        self._keeping: Keeping = operation.policy.keeping
        self.service, self.criticality = operation.service, operation.policy.criticality
        self._route = binding.template.text
        self._transcoder = transcoder
        self._rpc = operation.rpc
        self._caller = caller
        self._replies = replies
        self._shared = shared

    def message(self, variables: Mapping[str, str], query: bytes) -> Message:
        """What is asked for. Problem."""
        return self._transcoder.request(variables, query, b"")

    async def reply(self, key: Key, message: Message, visit: Visit) -> KeptReply:
        """The reply, kept for the next one who asks. Who comes meanwhile waits for it."""
        replies = self._replies
        if not replies.most_bytes:
            return await self._fresh(message, visit, time.monotonic())
        if (waiting := replies.under_way(key)) is not None:
            await waiting
            if found := replies.find(key, time.monotonic()):
                return found
        with replies.asking(key) as began:
            kept = await self._found(key)
            if kept is None:
                kept = await self._fresh(message, visit, began)
                if self._keeping.shared:
                    await self._shared.put(key, kept)
            replies.keep(key, kept)
        return kept

    async def _fresh(self, message: Message, visit: Visit, began: float) -> KeptReply:
        reply = (await self._caller.call(self._rpc, message, visit)).message
        body = self._transcoder.answer(reply)
        tags = self._tags(reply) if self._replies.most_bytes else ()
        return self._keepable(body, getattr(reply, ETAG, ""), tags, began)

    async def _found(self, key: Key) -> KeptReply | None:
        """A reply that another gateway asked for, if it holds here."""
        replies = self._replies
        found = await self._shared.find(key) if self._keeping.shared and replies.live else None
        if found is None:
            return None
        kept = self._keepable(found.body, found.version, found.tags, time.monotonic() - found.age)
        return kept if replies.holds(kept) else None

    def _keepable(self, body: bytes, version: str, tags: Iterable[str], began: float) -> KeptReply:
        etag, seconds = etag_of(version, body), self._keeping.seconds
        return KeptReply.of(body, version, etag, _RAW, self._route, tags, began, seconds)

    def _tags(self, reply: Any) -> list[str]:
        """What a reply is of."""
        of = self._keeping.of
        return [f"{self.service}/{each}" for each in ids_in(reply, of)] if of else [self.service]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an address asks for. Nobody changes the message: it is sent for all who ask."""

    read: PlainRead
    message: Message


class PlainReads:
    """The addresses of plain reads."""

    def __init__(self, shedding: Shedding) -> None:
        self._shedding = shedding
        self._routes: Router[PlainRead] = Router()
        self.find = lru_cache(_REMEMBERED)(self._find)

    def add(self, operation: Operation, binding: Binding, read: PlainRead) -> None:
        """Take a read that changes nothing, and that anybody may ask for as often as they like."""
        policy = operation.policy
        if binding.method == "GET" and operation.safe and policy.anyone and not policy.limits:
            self._routes.add("GET", binding.template, read)

    async def reply(self, wanted: Wanted, key: Key, visit: Visit) -> KeptReply:
        """The reply, as long as there is room. Problem, MercatoError."""
        read = wanted.read
        with self._shedding.admitted(read.service, read.criticality):
            return await read.reply(key, wanted.message, visit)

    def _find(self, path: bytes, query: bytes) -> Wanted | None:
        """What an address asks for. None: nothing so plain, or nothing at all, which the long way tells."""
        if len(path) + len(query) > _LONGEST:
            return None
        try:
            found = self._routes.find("GET", path.decode("latin-1"))
            return Wanted(found.target, found.target.message(found.variables, query))
        except (RouteNotFound, MethodNotAllowed, Problem):
            return None


def ids_in(reply: Any, fields: Iterable[str]) -> list[str]:
    """The aggregates that some fields of a reply name."""
    return [value for name in fields for value in _values(reply, name.split(".")) if value]


def _values(message: Any, path: Sequence[str]) -> Iterator[str]:
    """What stands at a path of fields, lists among them, in a message."""
    found = getattr(message, path[0], "")
    if len(path) == 1:
        yield found
    else:
        for each in found:
            yield from _values(each, path[1:])
