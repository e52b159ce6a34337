"""Logs: one JSON object a line, a constant event with key-values, and the ids that follow work through the mesh.

`bound(order_id=…)` says what the work within a block is about; those values stand on every line, travel with calls
(x-request-id, x-order-id, traceparent) and in the headers of events, and come back on the other side.
"""

import json
import logging
import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

import orjson

# structlog would load rich to paint tracebacks: 5 MB and a tenth of a second in every process, for nothing here.
_rich: object = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None says that there is none
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]

TRAVELLING = ("request_id", "order_id", "traceparent")
_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_dice = random.Random()  # noqa: S311  ids have to differ, not to be secret; asking the kernel for each costs a µs
_bulk: "list[_Bulk]" = []  # the one that was configured
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def context() -> Mapping[str, str]:
    """What the present work is about: request_id, order_id, traceparent and whatever else was bound."""
    return _context.get()


class bound:  # noqa: N801  used like a function, and no generator: every request passes here
    """Within the block, the work is about these; empty values are left out."""

    __slots__ = ("_token", "_values")

    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._token = _context.set(_with(self._values))

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)


def bind(**values: str) -> None:
    """For the rest of the call, the work is about these too: an order that has just got its id."""
    _context.set(_with(values))


def _with(values: Mapping[str, str]) -> Mapping[str, str]:
    return {**_context.get(), **{name: value for name, value in values.items() if value}}


def request_id(given: str | None) -> str:
    """The request id that a caller gave, if it is a proper one; else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """A request id that nobody has."""
    return f"{_dice.getrandbits(96):024x}"


def traceparent(given: str | None) -> str:
    """The W3C trace context for work that `given` led to: its trace and flags, a span of our own."""
    match = _TRACEPARENT.fullmatch(given or "")
    trace, flags = (match[1], match[2]) if match else (f"{_dice.getrandbits(128) | 1:032x}", "00")
    return f"00-{trace}-{_dice.getrandbits(64) | 1:016x}-{flags}"


def get(name: str) -> Any:
    """The logger of a module: `log.get(__name__).info("stock.reserved", sku=sku)`."""
    return structlog.get_logger(source=name)


def configure(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log of this process, libraries' included, to `stream` (standard output) as JSON lines."""
    stream = stream or sys.stdout
    _bulk.clear()
    if _LEVELS.get(level, logging.INFO) <= logging.INFO:
        _bulk.append(_Bulk(service, stream))
    _send(service, _LEVELS.get(level, logging.INFO), structlog.WriteLoggerFactory(stream))
    logging.basicConfig(level=max(_LEVELS.get(level, logging.INFO), logging.INFO), handlers=[_Bridge()], force=True)


def forget() -> None:
    """Be as before anybody configured: lines to whatever standard output is just now.

    structlog's own default paints a traceback for a second.
    """
    _bulk.clear()
    _send("mercato", logging.DEBUG, structlog.PrintLoggerFactory())


def _send(service: str, level: int, factory: Callable[..., Any]) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _with_context,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_exception,
            _Line(service),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )


def write_lines(event: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line of level info for each row, all at once: for what happens too often to be written one by one.

    A row's `time` is in seconds since the epoch. Nothing is written where the level is higher, or nothing configured.
    """
    for write in _bulk:
        write(event, rows)


class _Bulk:
    """Writes many lines of the same form."""

    def __init__(self, service: str, stream: TextIO) -> None:
        self._service = service
        self._stream = stream

    def __call__(self, event: str, rows: Iterable[Mapping[str, Any]]) -> None:
        lines = [self._line(event, row) for row in rows]
        self._stream.write("".join(lines))
        self._stream.flush()

    def _line(self, event: str, row: Mapping[str, Any]) -> str:
        at = datetime.fromtimestamp(row["time"], UTC).isoformat().replace("+00:00", "Z")
        first = {"time": at, "level": "info", "service": self._service, "event": event}
        return orjson.dumps({**row, **first}, option=orjson.OPT_APPEND_NEWLINE).decode()


class _Line:
    """The last processor: a JSON line, the words that one looks for first."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._encode = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":")).encode

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        first = {"time": event.pop("timestamp"), "level": event.pop("level"), "service": self._service}
        return self._encode({**first, "event": event.pop("event"), **event})


def _with_context(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**_context.get(), **event}


def _with_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return structlog.processors.format_exc_info(_logger, _method, event) if event.get("exc_info") else event


class _Bridge(logging.Handler):
    """What libraries log by the standard module, as our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        write = getattr(get(record.name), record.levelname.lower(), get(record.name).warning)
        trouble = {"exc_info": record.exc_info} if record.exc_info else {}
        write(record.getMessage(), **trouble)


forget()
