"""The errors of Mercato: one tree, whose branches are the categories that callers tell apart.

MercatoError
├── InvalidArgument            the request is wrong, whatever the state
│   ├── InvalidPageToken
│   └── IdempotencyKeyRequired
├── NotFound                   it is not there, or not the caller's
├── AlreadyExists              it is there already
├── FailedPrecondition         the state says no
│   ├── EtagRequired
│   └── IdempotencyKeyReused
├── Conflict                   somebody else was faster
│   ├── EtagMismatch
│   └── IdempotencyKeyInUse
├── PermissionDenied           known, and not allowed
├── Unauthenticated            not known
├── ResourceExhausted          too much was asked for
│   └── MessageTooLarge
├── Unavailable                not now; the same request may work later
│   ├── Overloaded
│   └── NotYetConsistent
├── DeadlineExceeded           no time left
├── Cancelled                  the caller went away
├── Unimplemented              no such operation
└── Internal                   a defect; its text stays in the log

Services derive their own from a category. The reason that callers see is the class name in UPPER_SNAKE (or the
class' own `reason`), the keyword arguments become its metadata. `mercato.rpc.status` carries both over the wire, and
on the other side raises the class that is registered there for the reason.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import new_class
from typing import Self


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field, named as JSON names it: `lines[0].quantity`."""

    field: str
    reason: str
    message: str


_registered: dict[str, list[type["MercatoError"]]] = {}


class MercatoError(Exception):
    """Anything that went wrong in a way that a caller may be told."""

    reason: str = ""
    retry_after: float | None = None
    fields: tuple[FieldViolation, ...] = ()

    def __init_subclass__(cls, *, registered: bool = True) -> None:
        """Give the class its reason, and make it known to whoever reads errors from the wire."""
        if "reason" not in cls.__dict__:
            cls.reason = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()
        if registered:
            _registered.setdefault(cls.reason, []).append(cls)

    def __init__(self, message: str = "", /, **metadata: object) -> None:
        """Say what went wrong in a sentence, and with which values."""
        super().__init__(message)
        self.message = message or (type(self).__doc__ or self.reason).strip()
        self.metadata = metadata

    def __str__(self) -> str:
        return self.message

    def after(self, seconds: float) -> Self:
        """The same error, telling callers when to ask again."""
        self.retry_after = seconds
        return self

    @property
    def definite(self) -> bool:
        """Whether the callee decided against the request, so that asking again is pointless.

        Silence, overload, defects and lost races are not decisions: the request may have taken effect, or may yet.
        """
        return bool(self.reason) and (isinstance(self, EtagMismatch) or not isinstance(self, _UNDECIDED))


class InvalidArgument(MercatoError):
    """The request is not valid."""

    reason = "VALIDATION_FAILED"

    @classmethod
    def of(cls, field: str, message: str, reason: str = "INVALID") -> Self:
        """The error of one field."""
        return cls.about([FieldViolation(field, reason, message)])

    @classmethod
    def about(cls, violations: Iterable[FieldViolation]) -> Self:
        """The error of several fields."""
        fields = tuple(violations)
        error = cls("; ".join(f"{each.field}: {each.message}" if each.field else each.message for each in fields))
        error.fields = fields
        return error


class NulInText(InvalidArgument, registered=False):
    """A text that the database does not keep, for there is a NUL in it."""

    reason = InvalidArgument.reason


class NotFound(MercatoError):
    """There is no such resource."""


class AlreadyExists(MercatoError):
    """There is such a resource already."""


class FailedPrecondition(MercatoError):
    """The state does not allow it."""


class Conflict(MercatoError):
    """Somebody else changed it at the same time."""


class PermissionDenied(MercatoError):
    """This is not allowed to you."""

    reason = "FORBIDDEN"


class Unauthenticated(MercatoError):
    """Nobody knows who is asking."""


class ResourceExhausted(MercatoError):
    """More was asked for than there is to give."""


class Unavailable(MercatoError):
    """The service cannot answer now."""


class DeadlineExceeded(MercatoError):
    """The time for it ran out."""


class Cancelled(MercatoError):
    """The caller went away."""


class Unimplemented(MercatoError):
    """There is no such operation."""


class Internal(MercatoError):
    """Something is broken on our side."""


class InvalidPageToken(InvalidArgument):
    """The page token is not one of ours, or belongs to another query."""

    reason = "INVALID_PAGE_TOKEN"


class IdempotencyKeyRequired(InvalidArgument):
    """This operation needs an idempotency key (request_id)."""

    reason = "IDEMPOTENCY_KEY_REQUIRED"


class EtagRequired(FailedPrecondition):
    """Changing this needs the etag that was read."""


class IdempotencyKeyReused(FailedPrecondition):
    """The idempotency key was used for another request."""


class EtagMismatch(Conflict):
    """The resource has changed since it was read."""


class IdempotencyKeyInUse(Conflict):
    """The first request with this idempotency key is still under way."""

    retry_after = 1.0


class MessageTooLarge(ResourceExhausted):
    """The message is larger than this service takes."""


class Overloaded(Unavailable):
    """The service has more to do than it can."""

    retry_after = 0.1


class NotYetConsistent(Unavailable):
    """What was written has not arrived here yet."""

    retry_after = 0.5


CATEGORIES: tuple[type[MercatoError], ...] = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Conflict,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Cancelled,
    Unimplemented,
    Internal,
)
# Beside silence and defects: a lost race, or a token that a rotated key no longer proves. The callee has not looked at
# the request itself; a process that took these for a no would give up on an order that can still succeed.
_UNDECIDED = (Unavailable, DeadlineExceeded, Cancelled, Internal, Conflict, Unauthenticated)


def category(error: MercatoError | type[MercatoError]) -> type[MercatoError]:
    """The branch of the tree that an error belongs to; Internal for one outside all of them."""
    cls = error if isinstance(error, type) else type(error)
    return next((each for each in CATEGORIES if issubclass(cls, each)), Internal)


def revive(branch: type[MercatoError], reason: str, message: str, metadata: dict[str, object]) -> MercatoError:
    """The error that another process raised, as the class that this process knows for it."""
    cls = _class_for(branch, reason)
    error = cls.__new__(cls)
    # Subclasses take arguments of their own; what they made of them has come over the wire already.
    MercatoError.__init__(error, message, **metadata)
    error.reason = reason
    return error


def _class_for(branch: type[MercatoError], reason: str) -> type[MercatoError]:
    known = [each for each in _registered.get(reason, ()) if issubclass(each, branch)]
    match known:
        case []:
            return branch
        case [cls]:
            return cls
        case _:
            return _both(tuple(sorted(known, key=lambda cls: -len(cls.__mro__))))


_joined: dict[tuple[type[MercatoError], ...], type[MercatoError]] = {}


def _both(classes: tuple[type[MercatoError], ...]) -> type[MercatoError]:
    # Two services in one process (tests) may each have a class for a reason: the error is then both, so that either
    # one's `except` finds it.
    if classes not in _joined:
        first = classes[0]
        body = {"reason": first.reason, "__doc__": first.__doc__}
        _joined[classes] = new_class(first.__name__, classes, {"registered": False}, lambda space: space.update(body))
    return _joined[classes]
