"""Calls into the mesh for one visitor: who asks, until when, and what the service says beside its reply."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from gateway.channels import Channels
from mercato.auth import Signer
from mercato.errors import DeadlineExceeded
from mercato.rpc.call import NOBODY, Principal
from mercato.rpc.channel import metadata_for
from mercato.rpc.contract import owner_of


@dataclass(frozen=True, slots=True)
class Visit:
    """What the edge knows of a request before it knows what it is for."""

    request_id: str = ""
    traceparent: str = ""
    consistency: str = ""
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered."""

    message: Any
    trailing: Mapping[str, str]

    @property
    def replayed(self) -> bool:
        """Whether this repeats what an earlier request did."""
        return self.trailing.get("mercato-replayed") == "true"

    @property
    def consistency(self) -> str:
        """What to send along in order to see this change elsewhere."""
        return self.trailing.get("mercato-consistency", "")


class Caller:
    """Calls rpcs on behalf of visitors, with a token of this process' own for each."""

    def __init__(
        self, channels: Channels, signer: Signer, deadline: timedelta, deadlines: Mapping[str, timedelta]
    ) -> None:
        self._channels = channels
        self._signer = signer
        self._deadline = deadline.total_seconds()
        self._deadlines = {name: value.total_seconds() for name, value in deadlines.items()}

    async def call(self, rpc: MethodDescriptor, message: Message, visit: Visit, principal: Principal = NOBODY) -> Reply:
        """The reply of a service. grpc.aio.AioRpcError when it refuses, DeadlineExceeded when the time is over."""
        left = self._deadlines.get(rpc.name, self._deadline) - (time.monotonic() - visit.began)
        if left <= 0:
            raise DeadlineExceeded
        call = self._channels.unary(rpc)(message, timeout=left, metadata=self._metadata(rpc, visit, principal))
        reply = await call
        return Reply(reply, _texts(await call.trailing_metadata()))

    def _metadata(self, rpc: MethodDescriptor, visit: Visit, principal: Principal) -> grpc.aio.Metadata:
        pairs = metadata_for(self._signer, owner_of(rpc.containing_service), principal)
        if visit.consistency:
            pairs.append(("x-consistency", visit.consistency))
        return grpc.aio.Metadata(*pairs)


def _texts(metadata: Any) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}
