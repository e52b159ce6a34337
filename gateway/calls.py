"""Calls into the mesh for one visitor: who asks, until when, and what the service says beside its reply."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from gateway.channels import Channels
from gateway.shedding import Shedding
from mercato.auth import Signer
from mercato.errors import DeadlineExceeded
from mercato.policy import policy_of
from mercato.rpc.admission import LONGEST_STREAM
from mercato.rpc.call import NOBODY, Principal, consistency_token
from mercato.rpc.channel import metadata_for
from mercato.rpc.contract import callee_of
from mercato.rpc.travel import Metadata

CONSISTENCY = "X-Consistency"
LONGEST_CONSISTENCY = 4096
"""Characters of a token: it names up to 32 aggregates, and we must take back what we gave."""
_BESIDE = {"mercato-replayed": "Idempotent-Replayed", "mercato-consistency": CONSISTENCY}
_AT_ONCE = consistency_token({"at-once": 0})
"""The token of a change that others need not hear of: whoever reads it asks the service that made it."""


# Not frozen, though nobody changes them: a frozen one takes three times as long to make, and each request makes both.
@dataclass(slots=True)
class Visit:
    """What the edge knows of a request before it knows what it is for."""

    request_id: str = ""
    traceparent: str = ""
    consistency: str = ""
    began: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Reply:
    """What a service answered."""

    message: Any
    headers: Mapping[str, str]


class Caller:
    """Calls rpcs on behalf of visitors, with a token of this process' own for each."""

    def __init__(
        self,
        channels: Channels,
        signer: Signer,
        deadline: timedelta,
        deadlines: Mapping[str, timedelta],
        shedding: Shedding | None = None,
    ) -> None:
        """What becomes of the calls is told to the shedding, which admits requests by that."""
        self._channels = channels
        self._signer = signer
        self._shedding = shedding
        self._deadline = deadline.total_seconds()
        self._deadlines = {name: value.total_seconds() for name, value in deadlines.items()}

    async def call(self, rpc: MethodDescriptor, message: Message, visit: Visit, principal: Principal = NOBODY) -> Reply:
        """The reply of a service. grpc.aio.AioRpcError or a MercatoError when it refuses, or this gateway does."""
        left = self._deadlines.get(rpc.name, self._deadline) - (time.monotonic() - visit.began)
        if left <= 0:
            raise DeadlineExceeded
        callee = callee_of(rpc, message)
        judged = self._shedding.judged(callee, policy_of(rpc).criticality) if self._shedding else nullcontext()
        metadata = self._metadata(callee, visit, principal)
        travel = self._channels.travel(rpc, callee, lambda: metadata_for(self._signer, callee, NOBODY))
        with judged:
            if travel:
                return _reply(*await travel.call(message.SerializeToString(), left, metadata))
            call = self._channels.unary(rpc, callee)(message, timeout=left, metadata=grpc.aio.Metadata(*metadata))
            return _reply(await call, await call.trailing_metadata())

    def stream(self, rpc: MethodDescriptor, request: Message, visit: Visit, principal: Principal) -> Any:
        """A call that streams: requests are to be written where they stream in, else `request` is the only one."""
        callee = callee_of(rpc, request)
        given = () if rpc.client_streaming else (request,)
        timeout = self._deadlines.get(rpc.name, LONGEST_STREAM)
        opened = self._channels.stream(rpc, callee)
        return opened(*given, timeout=timeout, metadata=grpc.aio.Metadata(*self._metadata(callee, visit, principal)))

    def _metadata(self, callee: str, visit: Visit, principal: Principal) -> Metadata:
        pairs = metadata_for(self._signer, callee, principal)
        if visit.consistency:
            pairs.append(("x-consistency", visit.consistency))
        return pairs


def _reply(message: Any, trailing: Any) -> Reply:
    return Reply(message, headers_of(trailing))


def written(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers beside the reply to a change: a client keeps the token of each, whatever it was that it changed."""
    return {CONSISTENCY: _AT_ONCE, **headers}


def headers_of(trailing: Any) -> dict[str, str]:
    """What a service says beside a reply or a refusal, for the client: that it said so before, and what it wrote."""
    return {_BESIDE[name]: value for name, value in trailing or () if name in _BESIDE and isinstance(value, str)}
