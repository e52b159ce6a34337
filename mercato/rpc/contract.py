"""A service as its contract describes it: the methods, their messages and policies."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mercato.policy import Policy, policy_of


class Servicer(Protocol):
    """Whoever answers the rpcs of a contract, each by a method of its name taking (request, context).

    One may have set forms beside them, `together` (`mercato.rpc.set_form`), and `exempt`, which tells of a request that
    came without a grant whether it is about something from before there were any (`mercato.grants`).
    """

    contract: ServiceDescriptor


class Unservable(Exception):
    """A servicer that does not do what its contract says."""


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc."""

    name: str
    path: str
    label: str
    policy: Policy
    request: type[Message]
    response: type[Message]
    streams_in: bool
    streams_out: bool

    @property
    def use_case(self) -> str:
        """What failpoints call it: `order.PlaceOrder`."""
        return f"{self.path.split('.')[-3]}.{self.name}"

    @property
    def takes_request_id(self) -> bool:
        """Whether a repeat is known by the request's `request_id`."""
        return self.policy.idempotent_by == "request_id" and not self.streams_in


@cache
def methods_of(service: ServiceDescriptor) -> tuple[Method, ...]:
    """The rpcs of a service, in the order of the contract."""
    return tuple(map(_method, service.methods))


def _method(method: MethodDescriptor) -> Method:
    service = method.containing_service
    streams: Any = method
    return Method(
        name=method.name,
        path=f"/{service.full_name}/{method.name}",
        label=f"{service.name}.{method.name}",
        policy=policy_of(method),
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        streams_in=streams.client_streaming,
        streams_out=streams.server_streaming,
    )


@cache
def owner_of(service: ServiceDescriptor) -> str:
    """The name of the service whose contract it is: `order` of mercato.api.order.v1.OrderService."""
    return service.full_name.split(".")[-3]


def callee_of(method: MethodDescriptor, request: Message) -> str:
    """The name of the service that answers a request: whose contract it is, or whom the request names."""
    named = policy_of(method).served_by
    return str(getattr(request, named)) if named else owner_of(method.containing_service)
