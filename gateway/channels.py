"""Channels of the event loop: one for each service and for life, over all its ports, with the chassis' options."""

from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from mercato.errors import Unavailable
from mercato.rpc.channel import options
from mercato.rpc.contract import owner_of

Unary = Any  # grpc.aio.UnaryUnaryMultiCallable, whose stub knows no descriptors


class Channels:
    """Calls to any rpc, at the targets that the settings name."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = targets
        self._open: dict[str, grpc.aio.Channel] = {}
        self._calls: dict[MethodDescriptor, Unary] = {}

    def unary(self, rpc: MethodDescriptor) -> Unary:
        """What calls an rpc. Unavailable when nobody said where its service is."""
        if rpc not in self._calls:
            service = rpc.containing_service
            self._calls[rpc] = self._channel(service).unary_unary(
                f"/{service.full_name}/{rpc.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(rpc.output_type).FromString,
            )
        return self._calls[rpc]

    def _channel(self, service: ServiceDescriptor) -> grpc.aio.Channel:
        name = owner_of(service)
        if name not in self._open:
            if name not in self._targets:
                raise Unavailable(f"MERCATO_TARGET_{name.upper()} is not set")
            self._open[name] = grpc.aio.insecure_channel(self._targets[name], options=options(service))
        return self._open[name]

    async def close(self) -> None:
        """Hang up."""
        for channel in self._open.values():
            await channel.close()
