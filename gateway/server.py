"""The gateway's process: granian in this very process, and an end at which no request is cut off.

granian's embedded server leaves the event loop and the signals to us. With its usual worker processes, an open event
stream would keep a worker from ever shutting down (it stops listening and waits for the stream, which waits for news).
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.app import Gateway, gateway
from gateway.config import Address, GatewayConfig
from gateway.contract import kept, operations, published
from gateway.feed import Feed, Subject
from gateway.keeping import REMEMBER, Replies
from gateway.leaving import Leaving, SharedServer
from gateway.live.events import OrderEvents
from mercato import log, telemetry
from mercato.auth import Signer
from mercato.config import BadSettings, Settings
from mercato.rpc.server import Health as GrpcHealth
from mercato.topic import topic

LOOK_FOR_PARENT = 1.0
# Requests at once, open event streams among them; granian would take no more than its backlog of new connections.
BACKPRESSURE = 10_000
BACKLOG = 1024
_log = log.get(__name__)


async def run(settings: Settings, config: GatewayConfig) -> None:
    """Be the gateway until SIGTERM, SIGINT or the end of the parent named by MERCATO_PARENT_PID."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    orphaned = asyncio.create_task(_stop_when_orphaned(stop, settings.parent_pid))
    try:
        await serve(settings, config, stop)
    finally:
        orphaned.cancel()


async def serve(settings: Settings, config: GatewayConfig, stop: asyncio.Event, replies: Replies | None = None) -> None:
    """Answer until told to stop. BadSettings when that cannot be."""
    listener = config.listener if config.listener >= 0 else _door(config.address)
    signer = Signer.load(settings.keys, settings.name, development=settings.development)
    replies = replies or Replies(config.cache_bytes, kept(operations(published())))
    async with AsyncExitStack() as stack:
        redis = await _redis(settings, stack)
        wired = gateway(settings, config, signer=signer, redis=redis, replies=replies)
        gate = await stack.enter_async_context(wired)
        if settings.kafka_bootstrap:
            feed = _feed(settings.kafka_bootstrap, gate.live, replies)
            feed.start(asyncio.get_running_loop())
            stack.push_async_callback(asyncio.to_thread, feed.stop)
        if settings.metrics_address:
            stop_metrics, _ = telemetry.serve(settings.metrics_address)
            stack.callback(stop_metrics)
        await _listen(gate, settings, config, listener, stop)
    _log.info("gateway.ended")


def _feed(bootstrap: str, live: OrderEvents | None, replies: Replies) -> Feed:
    """Who is told what happens, and whether all is told: those who watch orders, and whoever keeps replies."""

    def see(told: bool) -> None:
        replies.see(told)
        if live:
            live.see(told)

    return Feed(bootstrap, _subjects(live, replies), see)


def _subjects(live: OrderEvents | None, replies: Replies) -> list[Subject]:
    """What the gateway listens to: orders that are watched, and whatever makes kept replies stale."""

    def dropped(service: str) -> Callable[[Iterable[str]], None]:
        return lambda ids: replies.drop(service, ids, time.monotonic())

    # Of what was said before the start, as far back as a shared reply may have been asked for.
    stale = [Subject(topic(service), REMEMBER, dropped(service)) for service in sorted(replies.services)]
    # A second back, for the feed looks after nothing that it was not to read at all.
    return [*([Subject(topic("order"), 1.0, live.hint)] if live else []), *stale]


def _door(address: Address) -> int:
    """A socket of our own at an address that nobody else has. Granian's would share it with another gateway's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG).detach()
    except OSError as problem:
        reason = os.strerror(problem.errno) if problem.errno else str(problem)
        raise BadSettings(f"cannot listen at {address.host}:{address.port}: {reason}") from None


async def _redis(settings: Settings, stack: AsyncExitStack) -> "Redis | None":
    if not settings.redis_url:
        return None
    patience = settings.redis_patience.total_seconds()
    redis = Redis.from_url(
        settings.redis_url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 1)
    )
    stack.push_async_callback(redis.aclose)
    return redis


async def _listen(gate: Gateway, settings: Settings, config: GatewayConfig, listener: int, stop: asyncio.Event) -> None:
    server = _server(gate, config, listener)
    serving = asyncio.create_task(server.serve())
    health = GrpcHealth(settings.health_address, lambda: not gate.health.draining, lambda: True)
    try:
        _log.info("gateway.ready", address=f"{config.address.host}:{config.address.port}", pid=os.getpid())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await _leave(gate, server, serving, settings, handed=config.listener >= 0)
    finally:
        health.stop()


def _server(gate: Gateway, config: GatewayConfig, listener: int) -> SharedServer:
    arguments: dict[str, Any] = {
        "address": config.address.host,
        "port": config.address.port,
        "interface": Interfaces.ASGINL,
        "backlog": BACKLOG,
        "backpressure": BACKPRESSURE,
        "http1_settings": HTTP1Settings(header_read_timeout=int(config.body_timeout.total_seconds() * 1000)),
        "log_enabled": False,
    }
    unheard = int(config.unheard.total_seconds() * 1000)
    return SharedServer(Leaving(gate.app, gate.health), **arguments, listener=listener, unheard=unheard)


async def _stop_when_orphaned(stop: asyncio.Event, parent: int) -> None:
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_FOR_PARENT)
        if parent not in (0, os.getppid()):
            _log.warning("process.orphaned", parent=parent)
            stop.set()


async def _leave(
    gate: Gateway, server: SharedServer, serving: "asyncio.Task[None]", settings: Settings, *, handed: bool
) -> None:
    """Say that we go, have the streams end, answer what is under way."""
    if not serving.done():
        _log.info("gateway.draining")
        gate.health.draining = True
        if handed:
            server.turn_away()
        await asyncio.sleep(settings.leave_first.total_seconds())
        if gate.live:
            await gate.live.end()
        server.stop()  # type: ignore[no-untyped-call]  # granian types half of it
    with suppress(TimeoutError):
        await asyncio.wait_for(serving, settings.grace.total_seconds())
        return
    _log.warning("gateway.cut_off", grace=settings.grace.total_seconds())
