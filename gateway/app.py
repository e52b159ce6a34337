"""The gateway's table of contents: what it is made of, and which address leads where."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor
from redis.asyncio import Redis
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gateway.access import Access
from gateway.accesslog import AccessLog
from gateway.calls import Caller
from gateway.channels import Channels
from gateway.comments import comments
from gateway.config import GatewayConfig
from gateway.contract import Operation, kept, operations, published
from gateway.dispatch import Dispatcher, Handler, guarded
from gateway.download import Download
from gateway.edge import Edge
from gateway.endpoint import Endpoint, Mesh
from gateway.health import Health
from gateway.hot import HotPath
from gateway.identity import session_look_up
from gateway.keeping import Replies
from gateway.limits import Limits
from gateway.live.events import HISTORY, OrderEvents
from gateway.live.places import Places, room_for
from gateway.live.position import Positions
from gateway.live.vigil import ROUND, Pace
from gateway.packing import Packing
from gateway.pages import Pages
from gateway.plain import PlainReads
from gateway.rates import Rates
from gateway.routes import Router, Template
from gateway.sessions import Sessions
from gateway.sharing import SharedReplies
from gateway.shedding import Shedding
from gateway.upload import Upload
from gateway.webhooks import Webhooks
from mercato.auth import Signer
from mercato.clock import Clock, SystemClock
from mercato.config import Settings

SYSTEM_CLOCK = SystemClock()
DEVELOPMENT_FACTOR = 12.0
"""Times as many requests as in production: whoever develops signs in more often than a shopper."""
EXPOSED = (
    *("ETag", "Location", "X-Request-Id", "X-Consistency", "Idempotent-Replayed", "Retry-After"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"),
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is ready to be served: `app` answers, `health` and `live` are told when it is to end."""

    app: ASGIApp
    health: Health
    live: OrderEvents | None


@asynccontextmanager
async def gateway(
    settings: Settings,
    config: GatewayConfig,
    *,
    signer: Signer,
    redis: Redis | None = None,
    replies: Replies | None = None,
    clock: Clock = SYSTEM_CLOCK,
    files: Sequence[FileDescriptor] | None = None,
) -> AsyncIterator[Gateway]:
    """Wire a gateway over the contracts in `files` (those that are installed), and take it down at the end."""
    files = published() if files is None else files
    limits = Limits(body_seconds=config.body_timeout.total_seconds())
    async with AsyncExitStack() as closing:
        channels = Channels(settings.targets, together=settings.together)
        closing.push_async_callback(channels.close)
        shedding = Shedding(config.most_requests)
        caller = Caller(channels, signer, config.deadline, config.deadlines, shedding)
        sessions = Sessions(redis, session_look_up(caller), clock)
        factor = config.rate_factor or (DEVELOPMENT_FACTOR if settings.development else 1.0)
        rates = Rates(redis, factor, config.gateways, config.trusted_proxies)
        found = operations(files)
        replies = replies or Replies(config.cache_bytes, kept(found))
        access = Access(sessions, frozenset(config.origins))
        mesh = Mesh(access, caller, limits, rates, replies, SharedReplies(redis), clock)
        health, live = Health(), _live(mesh, redis, found, config)
        plain = PlainReads(shedding)
        routes = _routes(mesh, shedding, plain, health, live, files, found)
        lines = AccessLog()
        closing.callback(lines.flush)
        edge = Edge(_manners(Dispatcher(routes), config), limits)
        yield Gateway(HotPath(edge, plain, replies, lines, config.gzip_from), health, live)


def _live(mesh: Mesh, redis: Redis | None, found: Sequence[Operation], config: GatewayConfig) -> OrderEvents | None:
    """The streams, where the contracts have a history to stream."""
    history = next((each for each in found if each.name == HISTORY), None)
    if history is None:
        return None
    look = config.look.total_seconds()
    pace = Pace(config.heartbeat.total_seconds(), min(look, ROUND), look, config.stream_patience.total_seconds())
    places = Places(room_for(config.streams), config.streams_per_principal, config.streams_per_address)
    return OrderEvents(mesh, history, Positions(redis), places, pace)


def _routes(
    mesh: Mesh,
    shedding: Shedding,
    plain: PlainReads,
    health: Health,
    live: OrderEvents | None,
    files: Sequence[FileDescriptor],
    found: Sequence[Operation],
) -> Router[Handler]:
    """Every address: those of the contracts, and the gateway's own."""
    router: Router[Handler] = Router()
    for operation in found:
        for binding in operation.bindings:
            form = Upload if operation.uploads else Download if operation.streams else Endpoint
            endpoint = form(operation, binding, mesh)
            router.add(binding.method, binding.template, guarded(endpoint, operation, shedding))
            if isinstance(endpoint, Endpoint) and endpoint.plain:
                plain.add(operation, binding, endpoint.plain)
    webhooks = Webhooks(mesh)
    pages = Pages(files, found, comments(), {**(live.paths() if live else {}), **webhooks.paths()})
    for path, page in {**health.routes(), **(live.routes() if live else {}), **pages.routes()}.items():
        router.add("GET", Template.parse(path), page)
    for path, handler in webhooks.routes().items():
        router.add("POST", Template.parse(path), handler)
    return router


def _manners(app: ASGIApp, config: GatewayConfig) -> ASGIApp:
    """What is done for browsers, whatever the address."""
    app = Packing(app, config.gzip_from)
    if not config.origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=config.origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "Idempotency-Key",
            "Last-Event-ID",
            "X-Consistency",
            "X-Request-Id",
        ],
        allow_credentials=True,
        expose_headers=EXPOSED,
        max_age=600,
    )
