"""The one event loop of a test process, which is never closed: once a loop is, grpc.aio fails those beside it."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

PATIENCE = 90.0
T = TypeVar("T")


def begin(task: Coroutine[Any, Any, T]) -> Future[T]:
    """Have the loop do it."""
    return asyncio.run_coroutine_threadsafe(task, _loop())


def finish(task: Coroutine[Any, Any, T]) -> T:
    """Have the loop do it, and wait for what comes of it."""
    return begin(task).result(PATIENCE)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="loop", daemon=True).start()
    return loop
