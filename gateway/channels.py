"""Channels of the event loop: one for each contract of a service and for life, over all its ports."""

from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from mercato.errors import NotFound, Unavailable
from mercato.policy import policy_of
from mercato.rpc.channel import options

Unary = Any  # grpc.aio.UnaryUnaryMultiCallable, whose stub knows no descriptors


class Channels:
    """Calls to any rpc, at the targets that the settings name."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = targets
        self._open: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._calls: dict[tuple[MethodDescriptor, str], Unary] = {}

    def unary(self, rpc: MethodDescriptor, callee: str) -> Unary:
        """What calls an rpc of a service. Unavailable when nobody said where it is, NotFound when there is none."""
        if (rpc, callee) not in self._calls:
            if policy_of(rpc).served_by and callee not in self._targets:
                raise NotFound(f"there is no service {callee}")
            service = rpc.containing_service
            self._calls[rpc, callee] = self._channel(service, callee).unary_unary(
                f"/{service.full_name}/{rpc.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(rpc.output_type).FromString,
            )
        return self._calls[rpc, callee]

    def stream(self, rpc: MethodDescriptor, callee: str) -> Any:
        """What calls an rpc whose requests stream in, or whose replies stream out."""
        service = rpc.containing_service
        channel = self._channel(service, callee)
        return (channel.stream_unary if rpc.client_streaming else channel.unary_stream)(
            f"/{service.full_name}/{rpc.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(rpc.output_type).FromString,
        )

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
