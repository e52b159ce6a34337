"""Reads of users, sessions and addresses that decide nothing."""

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row, kwargs_row

from mercato.errors import NotFound
from mercato.postgres import Database
from services.user.domain import Address, Identity, Session, User
from services.user.store import ADDRESS, SESSION, USER, user_of

# A session is open until it is ended, runs out, or its account is erased.
_LOOK_UP: LiteralString = """
    select s.id, s.token_hash, s.subject, s.guest, s.guest_id, s.create_time, s.expire_time,
           coalesce(u.roles, '{}') as roles
    from sessions s left join users u on u.id = s.subject
    where s.token_hash = %s and s.revoke_time is null and s.expire_time > now()
      and (s.guest or u.state = 'ACTIVE')"""


def _identity_of(roles: list[str], **columns: Any) -> Identity:
    return Identity(Session(**columns), tuple(roles))


class UserQueries:
    """Reads on the schema `users`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look_up_session(self, token_hash: str) -> Identity:
        """Whose a token is. NotFound."""
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(_identity_of)) as cursor:
            if identity := cursor.execute(_LOOK_UP, [token_hash]).fetchone():
                return identity
        raise NotFound

    def user(self, user_id: UUID) -> User:
        """An account that is in use. NotFound."""
        statement: LiteralString = f"select {USER} from users where id = %s and state = 'ACTIVE'"
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(user_of)) as cursor:
            if user := cursor.execute(statement, [user_id]).fetchone():
                return user
        raise NotFound

    def users(self, email: str, role: str, after: Sequence[str], most: int) -> list[User]:
        """Accounts, the newest first, after one of them. An id is all that a page token may tell of a person."""
        statement: LiteralString = f"""
            select {USER} from users
            where state = 'ACTIVE' and (%(email)s = '' or lower(email) = lower(%(email)s))
              and (%(role)s = '' or %(role)s = any(roles))
              and (%(after)s::uuid is null or id < %(after)s::uuid)
            order by id desc limit %(most)s"""
        values = {"email": email, "role": role, "after": after[0] if after else None, "most": most}
        with self._database.reading() as connection, connection.cursor(row_factory=kwargs_row(user_of)) as cursor:
            return cursor.execute(statement, values).fetchall()

    def sessions(self, subject: UUID, after: Sequence[str], most: int) -> list[Session]:
        """The open sessions of a subject, the newest first, after one of them."""
        statement: LiteralString = f"""
            select {SESSION} from sessions
            where subject = %(subject)s and revoke_time is null and expire_time > now()
              and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(id)s::uuid))
            order by create_time desc, id desc limit %(most)s"""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Session)) as cursor:
            return cursor.execute(statement, {"subject": subject, **_after(after), "most": most}).fetchall()

    def addresses(self, user_id: UUID, after: Sequence[str], most: int) -> list[Address]:
        """A user's addresses, the newest first, after one of them."""
        statement: LiteralString = f"""
            select {ADDRESS} from addresses
            where user_id = %(user_id)s
              and (%(time)s::timestamptz is null or (create_time, id) < (%(time)s, %(id)s::uuid))
            order by create_time desc, id desc limit %(most)s"""
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Address)) as cursor:
            return cursor.execute(statement, {"user_id": user_id, **_after(after), "most": most}).fetchall()

    def addresses_of(self, wanted: Sequence[tuple[UUID, UUID]]) -> list[Address | None]:
        """An address of a user for each pair of an address' id and a user's."""
        statement: LiteralString = f"""
            select {ADDRESS} from addresses
            where (id, user_id) in (select * from unnest(%b::uuid[], %b::uuid[]))"""
        columns = [list(column) for column in zip(*wanted, strict=True)]
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Address)) as cursor:
            found = {(each.id, each.user_id): each for each in cursor.execute(statement, columns)}
        return [found.get(each) for each in wanted]

    def address(self, address_id: UUID, user_id: UUID) -> Address:
        """One of the user's addresses. NotFound."""
        statement: LiteralString = f"select {ADDRESS} from addresses where id = %s and user_id = %s"
        with self._database.reading() as connection, connection.cursor(row_factory=class_row(Address)) as cursor:
            if address := cursor.execute(statement, [address_id, user_id]).fetchone():
                return address
        raise NotFound


def _after(cursor: Sequence[str]) -> dict[str, str | None]:
    return {"time": cursor[0], "id": cursor[1]} if cursor else {"time": None, "id": None}
