"""Liveness and readiness of the gateway."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from gateway.calls import Visit
from gateway.dispatch import Handler
from gateway.writer import dumps


class Health:
    """Whether this process lives, and whether it wants new requests."""

    def __init__(self) -> None:
        self.draining = False

    def routes(self) -> Mapping[str, Handler]:
        """The addresses of both answers."""
        return {"/healthz": self.live, "/readyz": self.ready}

    async def live(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """Whoever answers, lives. Nothing else is asked: restarting a gateway mends no database."""
        return _answer(200, "ok")

    async def ready(self, _request: Request, _variables: Mapping[str, str], _visit: Visit) -> Response:
        """Ready until it drains. A service that is away is that service's problem, told call by call."""
        return _answer(503, "draining") if self.draining else _answer(200, "ok")


def _answer(status: int, text: str) -> Response:
    return Response(dumps({"status": text}), status, {"Cache-Control": "no-store"}, "application/json")
