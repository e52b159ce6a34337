"""A pool whose threads wait for the message of a call, and not for ever.

gRPC gives a call a thread when its headers have come, and has the thread wait for the message. Headers and message of
an honest call come together. As many calls as there are threads, of which the message never comes, would stop the
service for everybody, before it is known who calls: such a call is cancelled.

What is submitted to the pool tells which call it is of (`grpc._server._handle_unary_unary`), which is no public
interface. Where it changes, threads wait as they did before, and the test of this fails.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from mercato import log

P = ParamSpec("P")
T = TypeVar("T")

FOR_MESSAGES = 5.0
"""Seconds that a thread waits for a message: longer than a gateway waits for the reply, however busy the machine is."""
_UNARY = "_unary_response_in_pool"


class PatientPool(ThreadPoolExecutor):
    """Threads that answer calls of one message each."""

    def __init__(self, threads: int, name: str, patience: float = FOR_MESSAGES) -> None:
        super().__init__(threads, name)
        self._patience = patience
        self._waiting: dict[int, tuple[float, Any]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._look, name=f"{name}-patience", daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have a thread do it, and note for which call it waits."""
        call = _call_of(args)
        return super().submit(fn, *args, **kwargs) if call is None else super().submit(self._answer, call, fn, args)

    def arrived(self) -> None:
        """The message is there that this thread waited for."""
        self._waiting.pop(threading.get_ident(), None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more, and look after nothing any more."""
        self._over.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _answer(self, call: Any, answer: Callable[..., T], args: tuple[Any, ...]) -> T:
        self._waiting[threading.get_ident()] = time.monotonic(), call
        try:
            return answer(*args)
        finally:
            self.arrived()

    def _look(self) -> None:
        while not self._over.wait(self._patience / 2):
            latest = time.monotonic() - self._patience
            late = [call for began, call in self._waiting.copy().values() if began < latest]
            for call in late:
                call.cancel()
            if late:
                log.get(__name__).warning("rpc.no_message", calls=len(late))


class Arrived:
    """A handler that is called when the message is there."""

    def __init__(self, handler: Callable[[Any, Any], Any], pool: PatientPool) -> None:
        self._handler = handler
        self._pool = pool

    def __call__(self, request: Any, context: Any) -> Any:
        self._pool.arrived()
        return self._handler(request, context)


def _call_of(args: tuple[Any, ...]) -> Any:
    """The call whose message is to be waited for; None if it is something else that is to be done."""
    if len(args) < 2 or getattr(args[0], "__name__", "") != _UNARY:
        return None
    return getattr(args[1], "call", None)
