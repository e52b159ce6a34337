"""The gRPC server of a process: enforced servicers on a pool of threads, health beside them on a small server."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import (
    health,
    health_pb2,
    health_pb2_grpc,
)

from mercato.errors import Overloaded
from mercato.policy import Criticality
from mercato.rpc import status
from mercato.rpc.batch import METHOD, Batch
from mercato.rpc.contract import Method
from mercato.rpc.enforce import CALLS, TRAFFIC, Door, Enforced, Traffic
from mercato.rpc.load import Load
from mercato.rpc.patience import FOR_MESSAGES, Arrived, PatientPool
from mercato.rpc.validation import read

LARGEST_MESSAGE = 256 * 1024
_STREAMS = 2
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1000),
    # Connections end now and then, so that calls spread over processes that were added since.
    ("grpc.max_connection_age_ms", 10 * 60_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.so_reuseport", 0),
)


class Server:
    """Answers calls at one address."""

    def __init__(
        self,
        servicers: Sequence[Enforced],
        *,
        address: str,
        threads: int = 16,
        waiting: int = 64,
        traffic: Traffic = TRAFFIC,
        patience: float = FOR_MESSAGES,
    ) -> None:
        self._pool, self._streams = PatientPool(threads, "rpc", patience), ThreadPoolExecutor(_STREAMS, "stream")
        self._refusals = PatientPool(1, "refuse", patience)
        # For calls that came together: those that wait for a thread of the first pool are counted, and refused.
        self._crew = ThreadPoolExecutor(threads, "crew")
        self._traffic = traffic
        load = Load(self._pool, waiting)
        shedding = Shedding(load, self._refusals, _criticalities(servicers))
        # gRPC's own limit answers RESOURCE_EXHAUSTED, which callers take for their own fault: it is only the backstop.
        self._server = grpc.server(
            self._pool, interceptors=[shedding], options=_OPTIONS, maximum_concurrent_rpcs=(threads + waiting) * 16
        )
        for servicer in servicers:
            self._add(servicer)
        if servicers:
            self._add_batch(Batch(servicers, self._crew, load))
        self.contracts = tuple(servicer.contract.full_name for servicer in servicers)
        self._health = _watched(self._server, self._refusals)
        self.port = self._server.add_insecure_port(address)

    def _add(self, servicer: Enforced) -> None:
        self._serve(servicer.contract.full_name, {door.method.name: self._handler(door) for door in servicer.doors})

    def _add_batch(self, batch: Batch) -> None:
        codecs: dict[str, Any] = {
            "request_deserializer": partial(read, METHOD.request),
            "response_serializer": _serialize,
        }
        name = METHOD.path.split("/")[1]
        self._serve(name, {METHOD.name: grpc.unary_unary_rpc_method_handler(Arrived(batch, self._pool), **codecs)})

    def _serve(self, name: str, handlers: dict[str, Any]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        self._server.add_registered_method_handlers(name, handlers)

    def _handler(self, door: Door) -> Any:
        method: Method = door.method
        codecs: dict[str, Any] = {
            "request_deserializer": partial(read, method.request),
            "response_serializer": _serialize,
        }
        if not method.streams_in:
            return grpc.unary_unary_rpc_method_handler(Arrived(door, self._pool), **codecs)
        # A stream holds its thread for as long as its sender likes: it must not be one of those that answer calls.
        return grpc.stream_unary_rpc_method_handler(InPool(door, self._streams), **codecs)

    def start(self) -> None:
        """Take calls."""
        self._server.start()
        self._health.set("", _SERVING)

    def reflect(self) -> None:
        """Tell whoever asks what there is to call: for development."""
        from grpc_reflection.v1alpha import reflection

        started: Any = _Started(self._server)
        reflection.enable_server_reflection((*self.contracts, reflection.SERVICE_NAME), started)

    def leave(self) -> None:
        """Ask callers to go elsewhere; whoever still comes is answered. Channels watch this health."""
        self._health.set("", _NOT_SERVING)

    def stop(self, grace: float) -> bool:
        """Answer what is under way, for at most `grace` seconds; False if something had to be cut off."""
        self._server.stop(grace).wait()
        # gRPC counts a call as over once its status is sent; the handler's last lines may still run.
        quiet = self._traffic.ended(grace)
        for pool in (self._pool, self._streams, self._refusals, self._crew):
            pool.shutdown(wait=False)
        return quiet


class _Started:
    """A server that serves already: it takes handlers that look at the name, and no others."""

    def __init__(self, server: grpc.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, *_: Any) -> None:
        """Leave it at the generic handlers."""


def _serialize(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


class InPool:
    """A handler that gRPC runs on threads of its own."""

    def __init__(self, handler: Callable[[Any, Any], Any], pool: ThreadPoolExecutor) -> None:
        self._handler = handler
        self.experimental_thread_pool = pool

    def __call__(self, request: Any, context: Any) -> Any:
        return self._handler(request, context)


def _criticalities(servicers: Sequence[Enforced]) -> dict[str, Criticality]:
    doors = (door.method for servicer in servicers for door in servicer.doors)
    return {method.path: method.policy.criticality for method in doors}


class Shedding(grpc.ServerInterceptor):
    """Refuses calls at once while too many wait for a thread, even when every thread is stuck.

    It only looks and wraps, for it runs on the one thread that takes calls in; the refusal runs on its own.
    """

    def __init__(self, load: Load, refusals: ThreadPoolExecutor, criticalities: Mapping[str, Criticality]) -> None:
        self._load = load
        self._refusals = refusals
        self._criticalities = criticalities

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """The handler for a call, or the refusal."""
        handler = continuation(handler_call_details)
        # What comes in company is judged call by call, later.
        criticality = self._criticalities.get(handler_call_details.method, Criticality.CRITICAL_PLUS)
        if handler is None or handler.unary_unary is None or not self._load.refuses(criticality):
            return handler
        return grpc.unary_unary_rpc_method_handler(InPool(_refuse, self._refusals))


def _refuse(_request: bytes, context: Any) -> None:
    refusal = Overloaded()
    CALLS.add("(refused)", status.code_of(refusal).name)
    context.set_trailing_metadata(tuple(status.trailers_of(refusal)))
    context.abort(status.code_of(refusal), status.text_of(refusal))


def _watched(server: grpc.Server, pool: ThreadPoolExecutor) -> Any:
    """Health on the main port, for channels: they watch it, and a watch takes a thread only to begin."""

    class Watched(health.HealthServicer):
        """Of this server alone: the library hangs the pool on the function, which all its servicers share."""

        def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802
            return super().Watch(request, context, send_response_callback)

    servicer = Watched(experimental_non_blocking=True, experimental_thread_pool=pool)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", _NOT_SERVING)
    return servicer


class Health:
    """Health on a port of its own, so that a process with all its threads busy does not look dead.

    `readiness` and the empty name: calls may come. `liveness`: the process is worth keeping.
    """

    def __init__(self, address: str, ready: Callable[[], bool], alive: Callable[[], bool]) -> None:
        self._pool = ThreadPoolExecutor(2, "health")
        self._server = grpc.server(self._pool, options=(("grpc.so_reuseport", 0),))
        self._answers = _Answers(ready, alive)
        health_pb2_grpc.add_HealthServicer_to_server(self._answers, self._server)
        self.port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop(0).wait()
        self._pool.shutdown(wait=False)


class _Answers(health_pb2_grpc.HealthServicer):
    """Health that is looked at when asked for."""

    def __init__(self, ready: Callable[[], bool], alive: Callable[[], bool]) -> None:
        self._questions = {"": ready, "readiness": ready, "liveness": alive}

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  named by the contract
        """Answer one question."""
        if request.service not in self._questions:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        yes = self._questions[request.service]()
        return health_pb2.HealthCheckResponse(status=_SERVING if yes else _NOT_SERVING)
