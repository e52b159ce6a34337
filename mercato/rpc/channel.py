"""The client side: one channel for each neighbour for the life of the process, and stubs that speak our language.

A stub's call carries a token for the called service, a grant where that service wants to see one, the present deadline
less what the hop costs, and the request's ids; what comes back is a reply or an error of `mercato.errors`, never a
grpc.RpcError.
"""

import json
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from mercato import log
from mercato.auth import Signer
from mercato.convoy import away
from mercato.errors import DeadlineExceeded
from mercato.failpoint import failpoint
from mercato.rpc import status
from mercato.rpc.call import GRANT, NOBODY, Principal, current_call
from mercato.rpc.contract import Method, methods_of, owner_of
from mercato.rpc.travel import Travel

S = TypeVar("S")
HOP = 0.02  # seconds kept back, so that we can still answer when the callee could not
CAP = 5.0
_HEADERS = {"request_id": "x-request-id", "order_id": "x-order-id", "traceparent": "traceparent"}


class UnknownNeighbour(Exception):
    """A service that this process was not told the address of."""


def options(service: ServiceDescriptor) -> list[tuple[str, Any]]:
    """The options of a channel to a service; `grpc.aio` takes the same."""
    return [
        ("grpc.service_config", json.dumps(service_config(service))),
        # The defaults cost a second and dozens of failed calls after a restart.
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_metadata_size", 16 * 1024),
    ]


def service_config(service: ServiceDescriptor) -> dict[str, Any]:
    """How calls are spread, and which may be repeated: those whose second arrival has no second effect."""
    repeatable = [
        {"service": service.full_name, "method": each.name} for each in methods_of(service) if _repeatable(each)
    ]
    retry = {
        "maxAttempts": 3,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # A server that stops cancels calls that came after it had said so to the connection, and before that was heard.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        # A process that is about to stop says so here, and gets no further calls.
        "healthCheckConfig": {"serviceName": ""},
        # At most a tenth more calls than callers made, even when everything fails.
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
    return {**config, "methodConfig": [{"name": repeatable, "retryPolicy": retry}]} if repeatable else config


def _repeatable(method: Method) -> bool:
    return method.policy.repeatable and not (method.streams_in or method.streams_out)


def metadata_for(signer: Signer, audience: str, principal: Principal) -> list[tuple[str, str]]:
    """What travels with a call: who, for whom, and the ids of the present work."""
    known = log.context()
    travelling = [(header, known[name]) for name, header in _HEADERS.items() if name in known]
    return [("authorization", f"Bearer {signer.token(audience, principal)}"), *travelling]


class Channels:
    """The channels of a process, opened when first used."""

    def __init__(self, signer: Signer, targets: Mapping[str, str], *, together: bool = True) -> None:
        """Without `together`, every call goes alone, whatever its policy says."""
        self._signer = signer
        self._targets = targets
        self._together = together
        self._travels: dict[tuple[str, str], Travel] = {}
        self._open: dict[tuple[str, str], grpc.Channel] = {}
        self._lock = threading.Lock()

    def stub(
        self,
        cls: Callable[[grpc.Channel], S],
        principal: Principal | None = None,
        callee: str = "",
        *,
        together: bool = True,
    ) -> S:
        """A stub of a generated class. Calls are made for the present call's principal, or always for the given one.

        `callee` names the service, where the contract is one that every service serves. Without `together`, all its
        calls go alone: some may take so long that no other should wait for them.
        """
        service = _contract_of(cls)
        callee = callee or owner_of(service)
        channel = self._channel(service, callee)
        caller = _Caller(self._signer, callee, principal)
        rpcs = {
            each.name: Rpc(channel, each, caller, self._travel(channel, each, callee) if together else None)
            for each in methods_of(service)
        }
        # It has the attributes of the generated class, which checkers know; that class itself would raise RpcErrors.
        return cast("S", SimpleNamespace(**rpcs))

    def _travel(self, channel: grpc.Channel, method: Method, callee: str) -> Travel | None:
        """The lane of an rpc, which all stubs share; None if its calls go alone."""
        if not (self._together and method.policy.together):
            return None
        key = method.path, callee
        with self._lock:
            if key not in self._travels:
                self._travels[key] = Travel(channel, method, _Caller(self._signer, callee, NOBODY).metadata)
            return self._travels[key]

    def _channel(self, service: ServiceDescriptor, callee: str) -> grpc.Channel:
        key = service.full_name, callee
        with self._lock:
            if key not in self._open:
                if callee not in self._targets:
                    raise UnknownNeighbour(f"where is {callee}? MERCATO_TARGET_{callee.upper()} is not set")
                self._open[key] = grpc.insecure_channel(self._targets[callee], options=options(service))
            return self._open[key]

    def close(self) -> None:
        """Close all."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


def _contract_of(cls: Any) -> ServiceDescriptor:
    messages = sys.modules[cls.__module__.removesuffix("_grpc")]
    service: ServiceDescriptor = messages.DESCRIPTOR.services_by_name[cls.__name__.removesuffix("Stub")]
    return service


class _Caller:
    """Who calls whom, for whom."""

    def __init__(self, signer: Signer, callee: str, principal: Principal | None) -> None:
        self._signer = signer
        self._callee = callee
        self._principal = principal

    def metadata(self) -> list[tuple[str, str]]:
        """What travels with the next call."""
        return metadata_for(self._signer, self._callee, self._principal or current_call().principal)


class Rpc:
    """One rpc, called like a function."""

    def __init__(self, channel: grpc.Channel, method: Method, caller: _Caller, travel: Travel | None) -> None:
        make: Any = channel.stream_unary if method.streams_in else channel.unary_unary
        self._call = make(method.path, lambda message: message.SerializeToString(), method.response.FromString)
        self._method = method
        self._caller = caller
        self._send = travel or self._alone
        self._before = f"call.{method.name}.before"
        self._after = f"call.{method.name}.after"

    def __call__(self, request: Any, *, timeout: float | None = None) -> Any:
        """The reply. Raises the error that the callee raised, or Unavailable, or DeadlineExceeded."""
        failpoint(self._before)
        timeout = _time_left(None if self._method.streams_in else CAP, timeout)
        reply = self._send(self._repeatable(request), timeout, self._metadata())
        failpoint(self._after)
        return reply

    def _metadata(self) -> list[tuple[str, str]]:
        grant = current_call().grant if self._method.policy.granted else ""
        return [*self._caller.metadata(), (GRANT, grant)] if grant else self._caller.metadata()

    def _alone(self, request: Any, timeout: float | None, metadata: list[tuple[str, str]]) -> Any:
        try:
            with away(long=True):
                return self._call(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as failed:
            raise status.error_of_call(failed) from failed

    def _repeatable(self, request: Any) -> Any:
        # The channel may send it twice: without a key of the caller's own, each call gets one.
        if not self._method.takes_request_id or request.request_id:
            return request
        keyed: Any = self._method.request()
        keyed.CopyFrom(request)
        keyed.request_id = str(uuid.uuid4())
        return keyed


def _time_left(cap: float | None, wanted: float | None) -> float | None:
    remaining = current_call().remaining
    limits = [
        each
        for each in (cap if wanted is None else wanted, None if remaining is None else remaining - HOP)
        if each is not None
    ]
    timeout = min(limits, default=None)
    if timeout is not None and timeout <= 0:
        raise DeadlineExceeded("no time left for another call")
    return timeout
