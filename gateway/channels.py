"""Channels of the event loop: one for each contract of a service and for life, over all its ports."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.travel import Travel, path_of
from mercato.api.batch.v1.batch_pb2 import CallRequest, CallResponse
from mercato.errors import NotFound, Unavailable
from mercato.policy import policy_of
from mercato.rpc.channel import options
from mercato.rpc.travel import BATCH, Metadata

Unary = Any  # grpc.aio.UnaryUnaryMultiCallable, whose stub knows no descriptors


class Channels:
    """Calls to any rpc, at the targets that the settings name."""

    def __init__(self, targets: Mapping[str, str], *, together: bool = True) -> None:
        """Without `together`, every call goes alone, whatever its policy says."""
        self._targets = targets
        self._together = together
        self._travels: dict[tuple[MethodDescriptor, str], Travel] = {}
        self._open: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._calls: dict[tuple[MethodDescriptor, str], Unary] = {}

    def unary(self, rpc: MethodDescriptor, callee: str) -> Unary:
        """What calls an rpc of a service. Unavailable when nobody said where it is, NotFound when there is none."""
        if (rpc, callee) not in self._calls:
            self._calls[rpc, callee] = self._unary(rpc, callee, _serialized)
        return self._calls[rpc, callee]

    def travel(self, rpc: MethodDescriptor, callee: str, identify: Callable[[], Metadata]) -> Travel | None:
        """The lane of an rpc to a service; None if its calls go alone. `identify` says who sends the messages."""
        if (rpc, callee) in self._travels:
            return self._travels[rpc, callee]
        if not (self._together and policy_of(rpc).together):
            return None
        message = self._channel(rpc.containing_service, callee).unary_unary(
            BATCH, CallRequest.SerializeToString, CallResponse.FromString
        )
        self._travels[rpc, callee] = Travel(rpc, self._unary(rpc, callee, None), message, identify)
        return self._travels[rpc, callee]

    def _unary(self, rpc: MethodDescriptor, callee: str, serializer: Callable[[Any], bytes] | None) -> Unary:
        if policy_of(rpc).served_by and callee not in self._targets:
            raise NotFound(f"there is no service {callee}")
        read = GetMessageClass(rpc.output_type).FromString
        return self._channel(rpc.containing_service, callee).unary_unary(path_of(rpc), serializer, read)

    def stream(self, rpc: MethodDescriptor, callee: str) -> Any:
        """What calls an rpc whose requests stream in, or whose replies stream out."""
        channel, read = self._channel(rpc.containing_service, callee), GetMessageClass(rpc.output_type).FromString
        return (channel.stream_unary if rpc.client_streaming else channel.unary_stream)(path_of(rpc), _serialized, read)

    def _channel(self, service: ServiceDescriptor, callee: str) -> grpc.aio.Channel:
        key = service.full_name, callee
        if key not in self._open:
            if callee not in self._targets:
                raise Unavailable(f"MERCATO_TARGET_{callee.upper()} is not set")
            self._open[key] = grpc.aio.insecure_channel(self._targets[callee], options=options(service))
        return self._open[key]

    async def close(self) -> None:
        """Hang up."""
        for channel in self._open.values():
            await channel.close()


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
