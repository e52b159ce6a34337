"""The tables of accounts, sessions and addresses: every write, and the reads that writes decide by."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, LiteralString, TypeVar
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row, kwargs_row, scalar_row

from mercato.errors import NotFound
from mercato.postgres import Work
from services.user.domain import Address, Credentials, EmailTaken, Session, User, UserState

T = TypeVar("T")

USER: LiteralString = "id, coalesce(email, '') as email, display_name, roles, state, version, create_time"
SESSION: LiteralString = "id, token_hash, subject, guest, guest_id, create_time, expire_time"
ADDRESS: LiteralString = """id, user_id, label, recipient, line1, line2, postal_code, city, country_code, phone,
    latitude, longitude, zone_id, version, create_time, update_time"""


def user_of(roles: list[str], state: str, **columns: Any) -> User:
    """A row of `users` as a user."""
    return User(roles=tuple(roles), state=UserState(state), **columns)


def _credentials_of(password_hash: str, **columns: Any) -> Credentials:
    return Credentials(user_of(**columns), password_hash)


class Users:
    """Rows of `users`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def lock(self, user_id: UUID) -> User:
        """The account, which nobody else changes until this transaction ends. NotFound if it is not in use."""
        user = self.lock_even_erased(user_id)
        if user.state is UserState.ERASED:
            raise NotFound
        return user

    def lock_even_erased(self, user_id: UUID) -> User:
        """The same, in use or not."""
        statement: LiteralString = f"select {USER} from users where id = %s for update"
        with self._connection.cursor(row_factory=kwargs_row(user_of)) as cursor:
            return _found(cursor.execute(statement, [user_id]).fetchone())

    def credentials(self, email: str) -> Credentials | None:
        """The account with this e-mail, and what its password is checked against."""
        return self._credentials(f"select {USER}, password_hash from users where lower(email) = lower(%s)", email)

    def credentials_of(self, user_id: UUID) -> Credentials | None:
        """The same, by id, locked."""
        return self._credentials(
            f"select {USER}, password_hash from users where id = %s and state = 'ACTIVE' for update", user_id
        )

    def _credentials(self, statement: LiteralString, key: object) -> Credentials | None:
        with self._connection.cursor(row_factory=kwargs_row(_credentials_of)) as cursor:
            return cursor.execute(statement, [key]).fetchone()

    def add(self, user_id: UUID, email: str, password_hash: str, display_name: str, roles: Iterable[str]) -> User:
        """Open an account. EmailTaken, without an error of the database's: its log would tell whose e-mail it is."""
        statement: LiteralString = f"""
            insert into users (id, email, password_hash, display_name, roles, state, version)
            values (%s, %s, %s, %s, %s, 'ACTIVE', 1) on conflict (lower(email)) do nothing returning {USER}"""
        with self._connection.cursor(row_factory=kwargs_row(user_of)) as cursor:
            given = [user_id, email, password_hash, display_name, list(roles)]
            if (user := cursor.execute(statement, given).fetchone()) is None:
                raise EmailTaken
            return user

    def save(self, user: User) -> None:
        """Write what changed; an erased user loses e-mail and password."""
        self._connection.execute(
            """
            update users set email = nullif(%(email)s, ''), display_name = %(display_name)s, roles = %(roles)s,
                state = %(state)s, version = %(version)s, update_time = now(),
                password_hash = case when %(state)s = 'ERASED' then null else password_hash end
            where id = %(id)s
            """,
            {
                "id": user.id,
                "email": user.email,
                "display_name": user.display_name,
                "roles": list(user.roles),
                "state": user.state.value,
                "version": user.version,
            },
        )

    def set_password(self, user_id: UUID, password_hash: str) -> None:
        """Replace what the password is checked against."""
        self._connection.execute("update users set password_hash = %s where id = %s", [password_hash, user_id])

    def open_orders(self, user_id: UUID) -> int:
        """How many orders of theirs are not over."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            row = cursor.execute("select count(*) from open_orders where customer_id = %s", [user_id]).fetchone()
            return int(row or 0)


class Sessions:
    """Rows of `sessions`, and the list of copies that must go."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def add(
        self, session_id: UUID, token_hash: str, subject: UUID, *, guest: bool, guest_id: UUID | None, lasts: timedelta
    ) -> Session:
        """Begin a session that ends after `lasts` by the database's clock."""
        statement: LiteralString = f"""
            insert into sessions (id, token_hash, subject, guest, guest_id, expire_time)
            values (%s, %s, %s, %s, %s, now() + %s) returning {SESSION}"""
        with self._connection.cursor(row_factory=class_row(Session)) as cursor:
            given = [session_id, token_hash, subject, guest, guest_id, lasts]
            return _found(cursor.execute(statement, given).fetchone())

    def end(self, session_id: UUID, only_of: UUID | None) -> list[str]:
        """End a session, of this subject alone if one is named; its token's hash. NotFound if there is none."""
        statement: LiteralString = """
            update sessions set revoke_time = coalesce(revoke_time, now())
            where id = %(id)s and (%(only_of)s::uuid is null or subject = %(only_of)s) returning token_hash"""
        ended = self._ended(statement, {"id": session_id, "only_of": only_of})
        if not ended:
            raise NotFound
        return ended

    def end_all(self, subject: UUID, except_for: UUID | None = None) -> list[str]:
        """End every open session of a subject but one; the hashes of their tokens."""
        statement: LiteralString = """
            update sessions set revoke_time = now()
            where subject = %(subject)s and revoke_time is null and id is distinct from %(except_for)s
            returning token_hash"""
        return self._ended(statement, {"subject": subject, "except_for": except_for})

    def hashes(self, subject: UUID) -> list[str]:
        """The hashes of the open sessions' tokens: what a change of roles must reach."""
        statement: LiteralString = "select token_hash from sessions where subject = %(subject)s and revoke_time is null"
        return self._hashes(statement, {"subject": subject})

    def _ended(self, statement: LiteralString, values: dict[str, Any]) -> list[str]:
        hashes = self._hashes(statement, values)
        self.copies_are_stale(hashes)
        return hashes

    def _hashes(self, statement: LiteralString, values: dict[str, Any]) -> list[str]:
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(statement, values).fetchall()

    def copies_are_stale(self, hashes: Iterable[str]) -> None:
        """Remember that copies must go, in the transaction that makes them wrong."""
        self._connection.execute(
            "insert into stale_copies select unnest(%s::text[]) on conflict do nothing", [list(hashes)]
        )

    def stale_copies(self, most: int = 500) -> list[str]:
        """Copies that Redis was not yet told to drop."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute("select token_hash from stale_copies limit %s", [most]).fetchall()

    def copies_dropped(self, hashes: Iterable[str]) -> None:
        """Forget them."""
        self._connection.execute("delete from stale_copies where token_hash = any(%s)", [list(hashes)])

    def forget_ended(self) -> int:
        """Remove sessions that ended more than a day ago."""
        statement: LiteralString = """
            delete from sessions
            where least(expire_time, coalesce(revoke_time, expire_time)) < now() - interval '1 day'"""
        return self._connection.execute(statement).rowcount


class Addresses:
    """Rows of `addresses`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def count(self, user_id: UUID) -> int:
        """How many the user has."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            row = cursor.execute("select count(*) from addresses where user_id = %s", [user_id]).fetchone()
            return int(row or 0)

    def get(self, address_id: UUID, user_id: UUID) -> Address:
        """One of the user's addresses. NotFound."""
        statement: LiteralString = f"select {ADDRESS} from addresses where id = %s and user_id = %s"
        with self._connection.cursor(row_factory=class_row(Address)) as cursor:
            return _found(cursor.execute(statement, [address_id, user_id]).fetchone())

    def lock(self, address_id: UUID, user_id: UUID) -> Address:
        """The same, which nobody else changes until this transaction ends."""
        statement: LiteralString = f"select {ADDRESS} from addresses where id = %s and user_id = %s for update"
        with self._connection.cursor(row_factory=class_row(Address)) as cursor:
            return _found(cursor.execute(statement, [address_id, user_id]).fetchone())

    def put(self, address: Address) -> Address:
        """Write an address as it shall be, with its times by the database's clock."""
        statement: LiteralString = f"""
            insert into addresses as a (id, user_id, label, recipient, line1, line2, postal_code, city, country_code,
                phone, latitude, longitude, zone_id, version)
            values (%(id)s, %(user_id)s, %(label)s, %(recipient)s, %(line1)s, %(line2)s, %(postal_code)s, %(city)s,
                %(country_code)s, %(phone)s, %(latitude)s, %(longitude)s, %(zone_id)s, %(version)s)
            on conflict (id) do update set label = excluded.label, recipient = excluded.recipient,
                line1 = excluded.line1, line2 = excluded.line2, postal_code = excluded.postal_code,
                city = excluded.city, country_code = excluded.country_code, phone = excluded.phone,
                latitude = excluded.latitude, longitude = excluded.longitude, zone_id = excluded.zone_id,
                version = excluded.version, update_time = now()
            returning {ADDRESS}"""
        values = {name: getattr(address, name) for name in Address.__slots__}
        with self._connection.cursor(row_factory=class_row(Address)) as cursor:
            return _found(cursor.execute(statement, values).fetchone())

    def remove(self, address_id: UUID, user_id: UUID) -> None:
        """Remove one of the user's addresses. NotFound."""
        statement: LiteralString = "delete from addresses where id = %s and user_id = %s"
        if not self._connection.execute(statement, [address_id, user_id]).rowcount:
            raise NotFound

    def remove_all(self, user_id: UUID) -> None:
        """Remove every address of the user."""
        self._connection.execute("delete from addresses where user_id = %s", [user_id])


class OpenOrders:
    """Rows of `open_orders`."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def opened(self, order_id: UUID, customer_id: UUID) -> None:
        """An order was placed."""
        statement: LiteralString = "insert into open_orders values (%s, %s) on conflict do nothing"
        self._connection.execute(statement, [order_id, customer_id])

    def closed(self, order_id: UUID) -> None:
        """An order is over."""
        self._connection.execute("delete from open_orders where order_id = %s", [order_id])


class UserWork(Work):
    """One transaction on the schema `users`, and the events that leave with it."""

    def opened(self) -> None:
        """Lay out the tables."""
        self.users = Users(self.connection)
        self.sessions = Sessions(self.connection)
        self.addresses = Addresses(self.connection)
        self.open_orders = OpenOrders(self.connection)


def _found(row: T | None) -> T:
    if row is None:
        raise NotFound
    return row
