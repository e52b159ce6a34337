"""What PostgreSQL's errors mean to a caller: translated in one place, by their SQLSTATE."""

from collections.abc import Callable, Mapping
from types import TracebackType

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from mercato.errors import Conflict, DeadlineExceeded, MercatoError, NulInText, Overloaded, Unavailable

Constraints = Mapping[str, Callable[[], MercatoError]]

_RACES = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
_NO_TEXT = (errors.CharacterNotInRepertoire, errors.UntranslatableCharacter)
_TOO_MUCH = (PoolTimeout, TooManyRequests, errors.InsufficientResources)


class LostRace(Conflict, registered=False):
    """Another transaction was in the way; the same work may succeed when it is done again."""

    reason = Conflict.reason


def out_of_time() -> DeadlineExceeded:
    """The caller's time is over."""
    return DeadlineExceeded("the time for it ran out before the database answered")


class Translated:
    """Raises the error that a database's error stands for; a defect passes as it is."""

    __slots__ = ("_constraints",)  # entered at every transaction: a generator would cost three times as much

    def __init__(self, constraints: Constraints) -> None:
        self._constraints = constraints

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error) and (meaning := meaning_of(error, self._constraints)):
            raise meaning from error


def translated(constraints: Constraints) -> Translated:
    """Within the block, errors of the database become ours."""
    return Translated(constraints)


def meaning_of(error: psycopg.Error, constraints: Constraints) -> MercatoError | None:
    """What a caller may be told; None if the error is a defect of ours."""
    match error:
        case psycopg.IntegrityError():
            named = constraints.get(error.diag.constraint_name or "")
            return named() if named else None
        case psycopg.DataError() if error.sqlstate is None or isinstance(error, _NO_TEXT):
            # The client itself refused a value (of those that callers send, that is a text with a NUL in it), or did
            # not see it, where it stood in a list or in JSON.
            return NulInText("text must not contain NUL")
        case _ if isinstance(error, _RACES):
            return LostRace("another change was in the way; try again")
        case errors.QueryCanceled():
            return out_of_time()
        case _ if isinstance(error, _TOO_MUCH):
            return Overloaded("the database has more to do than it can")
        # Connections that break while committing are here as well: whether it took effect is not known.
        case psycopg.OperationalError() | PoolClosed() | errors.IdleInTransactionSessionTimeout():
            return Unavailable("the database does not answer")
        case psycopg.InterfaceError():
            return Unavailable("the connection to the database is closed")
        case _:
            return None
