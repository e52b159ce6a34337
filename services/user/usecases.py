"""What can be done with accounts, sessions and addresses."""

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from mercato.errors import NotFound
from mercato.etag import require_etag
from mercato.idempotency import Key
from mercato.ids import uuid7
from services.user import messages
from services.user.copies import SessionCopies
from services.user.domain import (
    MOST_ADDRESSES,
    Address,
    Credentials,
    EmailTaken,
    InvalidCredentials,
    OpenOrders,
    OwnRoles,
    Place,
    Session,
    TooManyAddresses,
    User,
    UserState,
)
from services.user.passwords import Passwords
from services.user.store import UserWork

Work = Callable[[], UserWork]


class Deliveries(Protocol):
    """What users need of the delivery service."""

    def locate_zone(self, place: Place) -> str:
        """The zone that delivers to a place; empty where none does."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has just begun: the only time that its token is seen."""

    token: str
    session: Session
    user: User | None


class Accounts:
    """Who has an account, and what they may do."""

    def __init__(self, work: Work, passwords: Passwords, copies: SessionCopies) -> None:
        self._work = work
        self._passwords = passwords
        self._copies = copies

    def register_user(self, email: str, password: str, display_name: str) -> User:
        """Open a shopper's account. EmailTaken, PasswordTooCommon."""
        password_hash = self._passwords.choose(password, "password")
        with self._work() as work:
            return self._open(work, email, password_hash, display_name, "customer")

    def update_user(self, user_id: UUID, etag: str, display_name: str | None) -> User:
        """Change a profile; None leaves the name as it is."""
        with self._work() as work:
            user = work.users.lock(user_id)
            require_etag(etag, user.version)
            if display_name is None or display_name == user.display_name:
                return user
            user = user.renamed(display_name)
            work.users.save(user)
            work.publish(messages.updated(user), str(user.id), user.version)
        return user

    def change_password(self, user_id: UUID, session_id: UUID, old: str, new: str, key: Key | None) -> User:
        """Replace the password and end every session but this one. InvalidCredentials, PasswordTooCommon."""
        try:
            checked = self._check(user_id, old)
        except InvalidCredentials:
            if repeated := self._repeated(user_id, key):
                return repeated
            raise
        # Hashing is slow, so it is done before the account is locked; that the old one still holds is checked after.
        password_hash = self._passwords.choose(new, "newPassword")
        with self._work() as work:
            if work.idempotency.find(key):
                return work.users.lock(user_id)
            held = work.users.credentials_of(user_id)
            if held is None or held.password_hash != checked.password_hash:
                raise InvalidCredentials
            user, ended = _with_password(work, held.user, password_hash, except_for=session_id)
            work.idempotency.made(key, str(user_id))
        self._copies.drop(ended)
        return user

    def _repeated(self, user_id: UUID, key: Key | None) -> User | None:
        """The account, if this very change was made before: then the old password no longer matches."""
        with self._work() as work:
            return work.users.lock(user_id) if work.idempotency.peek(key) else None

    def _check(self, user_id: UUID, password: str) -> Credentials:
        with self._work() as work:
            held = work.users.credentials_of(user_id)
        if not self._passwords.match(password, held.password_hash if held else None) or held is None:
            raise InvalidCredentials
        return held

    def set_roles(self, user_id: UUID, roles: Iterable[str], by: str) -> User:
        """Say what a user may do from now on. OwnRoles."""
        if str(user_id) == by:
            raise OwnRoles
        with self._work() as work:
            user, stale = _with_roles(work, work.users.lock(user_id), roles)
        self._copies.drop(stale)
        return user

    def erase_user(self, user_id: UUID) -> None:
        """Forget a person, whose orders must all be over. Again: nothing changes. OpenOrders."""
        with self._work() as work:
            user = work.users.lock_even_erased(user_id)
            if user.state is UserState.ERASED:
                return
            if count := work.users.open_orders(user_id):
                raise OpenOrders(count)
            user = user.erased()
            work.users.save(user)
            work.addresses.remove_all(user_id)
            ended = work.sessions.end_all(user_id)
            work.publish(messages.erased(user), str(user.id), user.version)
        self._copies.drop(ended)

    def put_account(self, email: str, password: str, display_name: str, roles: Iterable[str]) -> User:
        """Make sure that there is an account with this e-mail, password and roles. A new one gets the name."""
        given = tuple(roles)
        with self._work() as work:
            held = work.users.credentials(email)
        fits = self._passwords.match(password, held.password_hash if held else None)
        password_hash = held.password_hash if held and fits else self._passwords.choose(password, "password")
        try:
            with self._work() as work:
                opened = held.user.id if held else self._open(work, email, password_hash, display_name).id
                user, stale = _put(work, opened, password_hash, given)
        except EmailTaken:  # by the same request at the same time
            return self.put_account(email, password, display_name, given)
        self._copies.drop(stale)
        return user

    def _open(self, work: UserWork, email: str, password_hash: str, display_name: str, *roles: str) -> User:
        user = work.users.add(uuid7(), email, password_hash, display_name, roles)
        work.publish(messages.registered(user), str(user.id), user.version)
        return user


def _put(work: UserWork, user_id: UUID, password_hash: str, roles: Iterable[str]) -> tuple[User, list[str]]:
    held = work.users.credentials_of(user_id)
    if held is None:
        raise NotFound
    user, ended = held.user, list[str]()
    if held.password_hash != password_hash:
        user, ended = _with_password(work, user, password_hash)
    user, stale = _with_roles(work, user, roles)
    return user, [*ended, *stale]


def _with_password(
    work: UserWork, before: User, password_hash: str, except_for: UUID | None = None
) -> tuple[User, list[str]]:
    """The user under a new password, and the sessions of the old one, which end."""
    user = before.touched()
    work.users.set_password(user.id, password_hash)
    work.users.save(user)
    ended = work.sessions.end_all(user.id, except_for)
    work.publish(messages.updated(user), str(user.id), user.version)
    return user, ended


def _with_roles(work: UserWork, before: User, roles: Iterable[str]) -> tuple[User, list[str]]:
    """The user with these roles, and the sessions whose copies tell of others."""
    user = before.with_roles(roles)
    if user.roles == before.roles:
        return before, []
    work.users.save(user)
    stale = work.sessions.hashes(user.id)
    work.sessions.copies_are_stale(stale)
    work.publish(messages.roles_changed(user), str(user.id), user.version)
    return user, stale


class SignIns:
    """Who is signed in."""

    def __init__(self, work: Work, passwords: Passwords, copies: SessionCopies, lasts: timedelta) -> None:
        self._work = work
        self._passwords = passwords
        self._copies = copies
        self._lasts = lasts

    def sign_in(self, email: str, password: str, guest_id: UUID | None) -> SignedIn:
        """Begin a user's session, which remembers the guest that it grew from. InvalidCredentials."""
        with self._work() as work:
            held = work.users.credentials(email)
        if not self._passwords.match(password, held.password_hash if held else None) or held is None:
            raise InvalidCredentials("the e-mail or the password is wrong")
        outdated = self._passwords.outdated(held.password_hash)
        password_hash = self._passwords.hash(password) if outdated else held.password_hash
        # The password may have been changed meanwhile: a session of the old one must not begin, nor the old one return.
        return self._begin(held, password_hash, guest_id) or self.sign_in(email, password, guest_id)

    def _begin(self, checked: Credentials, password_hash: str, guest_id: UUID | None) -> SignedIn | None:
        """A user's session, and their password's newest hash; None if the password is no longer what was checked."""
        token, token_hash = new_token()
        with self._work() as work:
            held = work.users.credentials_of(checked.user.id)
            if held is None or held.password_hash != checked.password_hash:
                return None
            user = held.user
            if password_hash != held.password_hash:
                work.users.set_password(user.id, password_hash)
            session = work.sessions.add(uuid7(), token_hash, user.id, guest=False, guest_id=guest_id, lasts=self._lasts)
        return SignedIn(token, session, user)

    def start_guest_session(self) -> SignedIn:
        """Begin a session without an account."""
        token, token_hash = new_token()
        with self._work() as work:
            session = work.sessions.add(uuid7(), token_hash, uuid7(), guest=True, guest_id=None, lasts=self._lasts)
        return SignedIn(token, session, None)

    def revoke_session(self, session_id: UUID, only_of: UUID | None) -> None:
        """End a session. Committed first, then dropped from Redis."""
        with self._work() as work:
            ended = work.sessions.end(session_id, only_of)
        self._copies.drop(ended)

    def drop_stale_copies(self) -> bool:
        """Drop the copies that were noted and, because somebody died, perhaps not dropped."""
        with self._work() as work:
            hashes = work.sessions.stale_copies()
        if not hashes or not self._copies.drop(hashes):
            return False
        with self._work() as work:
            work.sessions.copies_dropped(hashes)
        return True

    def forget_ended(self) -> bool:
        """Remove the rows of sessions that ended long ago."""
        with self._work() as work:
            return work.sessions.forget_ended() > 0


class AddressBook:
    """Where users receive goods."""

    def __init__(self, work: Work, deliveries: Deliveries) -> None:
        self._work = work
        self._deliveries = deliveries

    def create_address(self, address: Address, key: Key | None) -> Address:
        """Add an address, in its zone if it has one. TooManyAddresses."""
        located = self._located(address)
        with self._work() as work:
            if made := work.idempotency.find(key):
                return work.addresses.get(UUID(made), address.user_id)
            # The account is locked, so that two at once cannot both be the last.
            work.users.lock(address.user_id)
            if work.addresses.count(address.user_id) >= MOST_ADDRESSES:
                raise TooManyAddresses
            added = work.addresses.put(located)
            work.idempotency.made(key, str(added.id))
        return added

    def update_address(
        self, address_id: UUID, user_id: UUID, etag: str, change: Callable[[Address], Address]
    ) -> Address:
        """Change an address; a new place may be in another zone."""
        with self._work() as work:
            before = work.addresses.get(address_id, user_id)
        require_etag(etag, before.version)
        changed = change(before)
        # The zone is asked for before the row is locked; the etag shows whether the row is still the same.
        located = changed if changed.place == before.place else self._located(changed)
        with self._work() as work:
            held = work.addresses.lock(address_id, user_id)
            require_etag(etag, held.version)
            return work.addresses.put(replace(located.complete(), version=held.version + 1))

    def delete_address(self, address_id: UUID, user_id: UUID) -> None:
        """Remove an address. NotFound."""
        with self._work() as work:
            work.addresses.remove(address_id, user_id)

    def _located(self, address: Address) -> Address:
        return replace(address.complete(), zone_id=self._deliveries.locate_zone(address.place))


class OrdersOfUsers:
    """Which orders are not over, as their events tell."""

    def order_placed(self, work: UserWork, order_id: UUID, customer_id: UUID) -> None:
        """An order was placed."""
        work.open_orders.opened(order_id, customer_id)

    def order_over(self, work: UserWork, order_id: UUID) -> None:
        """An order was delivered, rejected or cancelled."""
        work.open_orders.closed(order_id)


def new_token() -> tuple[str, str]:
    """A session token of 256 random bits, and the hash that is kept of it."""
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()
