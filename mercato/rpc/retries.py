"""Which calls that came to nothing in company are tried once more, alone, like a channel tries again by itself."""

from collections.abc import Iterable

import grpc

from mercato.errors import MercatoError, ResourceExhausted, Unavailable, Unimplemented

_MOST, _SPENT, _EARNED = 10.0, 1.0, 0.1


class Retries:
    """Those of one rpc: a tenth as often as calls are made, and only what may arrive twice."""

    def __init__(self, repeatable: bool) -> None:
        self._repeatable = repeatable
        self._tokens = _MOST

    def went(self, calls: int) -> None:
        """Note calls that were answered."""
        self._tokens = min(_MOST, self._tokens + _EARNED * calls)

    def of_lost(self, code: grpc.StatusCode | None, errors: Iterable[MercatoError]) -> list[bool]:
        """Which calls of a message that did not arrive are tried again; `code` is that of the message."""
        # A server that stops cancels what has come but has no thread yet. That is one failure, however many travelled.
        left = code is grpc.StatusCode.CANCELLED and self._repeatable and self._spend()
        # A server that opens no such messages did nothing.
        return [left or isinstance(each, Unimplemented) or self._again(each) for each in errors]

    def of_refused(self, error: MercatoError) -> bool:
        """Whether a call is tried again that was refused in a message which arrived."""
        return isinstance(error, Unavailable) and self._again(error)

    def _again(self, error: MercatoError) -> bool:
        lost = isinstance(error, (Unavailable, ResourceExhausted)) and error.retry_after is None
        return lost and self._repeatable and self._spend()

    def _spend(self) -> bool:
        self._tokens = max(0.0, self._tokens - _SPENT)
        return self._tokens > _MOST / 2
