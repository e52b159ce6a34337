"""People as the shop knows them: accounts, sessions, addresses."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from mercato.errors import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated

ROLES = ("customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
MOST_ADDRESSES = 50


class EmailTaken(AlreadyExists):
    """There is an account with this e-mail."""


class InvalidCredentials(Unauthenticated):
    """The e-mail or the password is wrong."""


class PasswordTooCommon(InvalidArgument):
    """The password is among the commonest."""

    reason = "PASSWORD_TOO_COMMON"

    @classmethod
    def at(cls, field: str) -> Self:
        """The error of the field that holds the password."""
        return cls.of(field, "is among the commonest passwords; choose one that nobody would guess", cls.reason)


class OpenOrders(FailedPrecondition):
    """An order is not over yet."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} of your orders are not over yet; erase the account when they are", orders=count)


class OwnRoles(PermissionDenied):
    """Nobody changes what they may do themselves."""

    reason = "OWN_ROLES"


class TooManyAddresses(FailedPrecondition):
    """An account keeps a limited number of addresses."""

    def __init__(self) -> None:
        super().__init__(f"an account keeps {MOST_ADDRESSES} addresses at most; delete one first", most=MOST_ADDRESSES)


class UserState(StrEnum):
    """Where an account stands."""

    ACTIVE = "ACTIVE"
    ERASED = "ERASED"


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. An erased one has no e-mail, name or roles."""

    id: UUID
    email: str
    display_name: str
    roles: tuple[str, ...]
    state: UserState
    version: int
    create_time: datetime

    def renamed(self, display_name: str) -> Self:
        """The user under another name."""
        return self._next(display_name=display_name)

    def with_roles(self, roles: Iterable[str]) -> Self:
        """The user with these roles and no others, in the order of `ROLES`."""
        given = frozenset(roles)
        return self._next(roles=tuple(role for role in ROLES if role in given))

    def touched(self) -> Self:
        """The user after a change that does not show: a new password."""
        return self._next()

    def erased(self) -> Self:
        """The account without the person."""
        return self._next(email="", display_name="", roles=(), state=UserState.ERASED)

    def masked(self) -> Self:
        """The user as support sees them."""
        return replace(self, email=masked_email(self.email))

    def _next(self, **changes: object) -> Self:
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # fields of this very class


def masked_email(email: str) -> str:
    """Enough of an e-mail to recognise it by: `anna@example.org` is `a•••@example.org`."""
    local, at, domain = email.rpartition("@")
    return f"{local[:1]}•••{at}{domain}" if email else ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account and what its password is checked against."""

    user: User
    password_hash: str


@dataclass(frozen=True, slots=True)
class Session:
    """A time during which a user, or a guest, is known by a token. Only the token's hash is kept."""

    id: UUID
    token_hash: str
    subject: UUID
    guest: bool
    guest_id: UUID | None
    create_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a session is, and what they may do."""

    session: Session
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the map, in degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Address:
    """Where a user receives goods. `zone_id` is empty where nobody delivers."""

    id: UUID
    user_id: UUID
    label: str
    recipient: str
    line1: str
    line2: str
    postal_code: str
    city: str
    country_code: str
    phone: str
    latitude: float
    longitude: float
    zone_id: str
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.latitude, self.longitude)

    def complete(self) -> Self:
        """The address itself. InvalidArgument names what is missing."""
        for name in ("recipient", "line1", "city"):
            if not getattr(self, name).strip():
                raise InvalidArgument.of(f"address.{name}", "is required", "REQUIRED")
        return self
