"""From an address to whatever answers it, and from whatever goes wrong to a problem."""

from collections.abc import Awaitable, Callable, Mapping

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.calls import Visit
from gateway.contract import Operation
from gateway.problems import Problem
from gateway.routes import MethodNotAllowed, RouteNotFound, Router
from gateway.shedding import Shedding
from mercato import log
from mercato.errors import Internal, MercatoError

Handler = Callable[[Request, Mapping[str, str], Visit], Awaitable[Response]]

# Keys of ours in the ASGI scope: what the edge knows before, and what the log wants to know after.
VISIT, ROUTE = "mercato.visit", "mercato.route"
REFUSAL = "mercato.refusal"
"""What went wrong already, on the short way; the long one only says so."""


def guarded(handler: Handler, operation: Operation, shedding: Shedding) -> Handler:
    """The handler, called only when there is room: nothing was spent on who is refused."""

    async def handle(request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        with shedding.admitted(operation.service, operation.policy.criticality):
            return await handler(request, variables, visit)

    return handle


class Dispatcher:
    """Answers every request with what its route says, or with a problem."""

    def __init__(self, router: Router[Handler]) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        visit: Visit = scope[VISIT]
        try:
            response = await self._respond(Request(scope, receive), visit)
        except Exception as error:  # noqa: BLE001 -- whatever happens, the client gets a problem
            response = problem_of(error).response(_instance(scope), visit.request_id)
        await response(scope, receive, send)

    async def _respond(self, request: Request, visit: Visit) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if request.method == "CONNECT":  # asks for a tunnel, not for an address of ours
            raise Problem.edge("METHOD_NOT_ALLOWED", headers={"Allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"})
        try:
            found = self._router.find("GET" if request.method == "HEAD" else request.method, path)
        except RouteNotFound:
            raise Problem.edge("ROUTE_NOT_FOUND") from None
        except MethodNotAllowed as refusal:
            allow = {"Allow": ", ".join(sorted(_allowed(refusal.allowed)))}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=allow)
            raise Problem.edge("METHOD_NOT_ALLOWED", headers=allow) from None
        request.scope[ROUTE] = found.template.text
        if REFUSAL in request.scope:
            raise request.scope[REFUSAL]
        return await found.target(request, found.variables, visit)


def problem_of(error: Exception) -> Problem:
    """The problem that an error is to a client; a defect is logged and not told."""
    match error:
        case Problem():
            return error
        case MercatoError():
            return Problem.of(error)
        case grpc.aio.AioRpcError():
            return Problem.of_call(error)
    log.get(__name__).error("http.defect", exc_info=error)
    return Problem.of(Internal())


def _allowed(methods: frozenset[str]) -> frozenset[str]:
    return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def _instance(scope: Scope) -> str:
    """The address as it was asked for, without what may be secret in its query."""
    return str(scope["raw_path"].decode("latin-1"))[:1024]
