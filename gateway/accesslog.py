"""Lines and counts of requests that were answered from memory, written many at a time."""

import asyncio
import time

from mercato import log
from mercato.telemetry import Counter

_PAUSE = 0.25  # seconds
_HOT = Counter("gateway_requests_from_memory", "Requests answered from kept replies.", ("route", "status"))


class AccessLog:
    """Notes requests, and writes a line for each a moment later."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, str, str, int, int, float, str]] = []

    def note(self, path: str, route: str, status: int, size: int, began: float, request_id: str) -> None:
        """A request was answered just now; `began` is of the monotonic clock."""
        if not self._rows:
            asyncio.get_running_loop().call_later(_PAUSE, self.flush)
        self._rows.append((time.time(), path, route, status, size, time.monotonic() - began, request_id))

    def flush(self) -> None:
        """Write what was noted."""
        rows, self._rows = self._rows, []
        counted: dict[tuple[str, str], int] = {}
        for _, _, route, status, *_ in rows:
            counted[route, str(status)] = counted.get((route, str(status)), 0) + 1
        for labels, number in counted.items():
            _HOT.add(*labels, amount=number)
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
                    "from_memory": True,
                }
                for at, path, route, status, size, seconds, request_id in rows
            ),
        )
