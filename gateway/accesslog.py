"""Lines and counts of requests that were answered from memory, written many at a time."""

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Sequence

from mercato import log
from mercato.telemetry import Counter, Histogram

_PAUSE = 0.25  # seconds
Row = tuple[float, str, str, int, int, float, str, bool]
REQUESTS = Counter("gateway_requests", "Answered requests.", ("method", "route", "status"))
SECONDS = Histogram("gateway_request_seconds", "Time from a request's head to the end of its answer.", ("route",))
_HOT = Counter("gateway_requests_from_memory", "Requests answered from kept replies.", ("route", "status"))


class AccessLog:
    """Notes plain reads, and writes a line for each a moment later."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def note(
        self, path: str, route: str, status: int, size: int, began: float, request_id: str, from_memory: bool
    ) -> None:
        """A request was answered just now, from memory or by a service; `began` is of the monotonic clock."""
        if not self._rows:
            asyncio.get_running_loop().call_later(_PAUSE, self.flush)
        self._rows.append((time.time(), path, route, status, size, time.monotonic() - began, request_id, from_memory))

    def flush(self) -> None:
        """Write what was noted."""
        rows, self._rows = self._rows, []
        _count(rows)
        log.write_lines(
            "http.request",
            (
                {
                    "time": at,
                    "request_id": request_id,
                    "method": "GET",
                    "path": path[:256],
                    "route": route,
                    "status": status,
                    "bytes": size,
                    "ms": round(seconds * 1000, 1),
                    "from_memory": from_memory,
                }
                for at, path, route, status, size, seconds, request_id, from_memory in rows
            ),
        )


def _count(rows: Sequence[Row]) -> None:
    counted = Counts((route, str(status), from_memory) for _, _, route, status, _, _, _, from_memory in rows)
    for (route, status, from_memory), number in counted.items():
        if from_memory:
            _HOT.add(route, status, amount=number)
        else:
            REQUESTS.add("GET", route, status, amount=number)
    for _, _, route, _, _, seconds, _, from_memory in rows:
        if not from_memory:
            SECONDS.observe(seconds, route)
