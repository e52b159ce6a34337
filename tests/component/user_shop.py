"""The user service in this process, on PostgreSQL and Valkey, and those who call it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from google.type.latlng_pb2 import LatLng

from mercato.api.user.v1 import user_pb2 as pb
from mercato.api.user.v1.user_pb2_grpc import UserServiceStub
from mercato.errors import Unavailable
from mercato.ids import uuid7
from mercato.pagination import PageTokens
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import Served, serve, staff
from services.user.copies import RedisSessionCopies, SessionCopies
from services.user.domain import Place
from services.user.passwords import Passwords
from services.user.queries import UserQueries
from services.user.servicer import UserServicer
from services.user.store import UserWork
from services.user.usecases import Accounts, AddressBook, SignIns

PASSWORD = "seven swans a-swimming"
CHEAP = {"time_cost": 1, "memory_kib": 1024}
ADMIN = staff("admin", subject=str(uuid7()))
SUPPORT = staff("support", subject=str(uuid7()))
EMAILS = (f"Ada.{number}@Example.org" for number in count())


class Deliveries:
    """A delivery service that serves the northern hemisphere."""

    def __init__(self) -> None:
        self.asked: list[Place] = []
        self.away = False

    def locate_zone(self, place: Place) -> str:
        if self.away:
            raise Unavailable("nobody there")
        self.asked.append(place)
        return "north" if place.latitude > 0 else ""


@dataclass
class Person:
    """Somebody who has signed in."""

    user: pb.User
    email: str
    token: str
    principal: Principal
    stub: Any

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def digest(self) -> str:
        return digest(self.token)


class Shop:
    """The service, and ways to call it."""

    def __init__(self, database: Database, redis: Any) -> None:
        self.database = database
        self.redis = redis
        self.deliveries = Deliveries()
        self.copies = RedisSessionCopies(redis)
        self.passwords = Passwords(2, 100, **CHEAP)
        self.addresses = AddressBook(self.work, self.deliveries)

    def work(self) -> UserWork:
        return UserWork(self.database, service="user")

    def sign_ins(
        self,
        passwords: Passwords | None = None,
        copies: SessionCopies | None = None,
        lasts: timedelta = timedelta(hours=24),
    ) -> SignIns:
        return SignIns(self.work, passwords or self.passwords, copies or self.copies, lasts)

    def accounts(self, passwords: Passwords | None = None, copies: SessionCopies | None = None) -> Accounts:
        return Accounts(self.work, passwords or self.passwords, copies or self.copies)

    def servicer(self, copies: SessionCopies | None = None) -> UserServicer:
        kept = copies or self.copies
        queries = UserQueries(self.database)
        return UserServicer(
            self.accounts(copies=kept), self.sign_ins(copies=kept), self.addresses, queries, kept, PageTokens("secret")
        )

    def opened(self, served: Served) -> None:
        """Somebody of each kind can call from now on."""
        self._served = served
        self.gateway = self.stub(Principal())
        self.admin = self.stub(ADMIN)
        self.support = self.stub(SUPPORT)
        self.operator = self.stub(Principal(), "operator")
        self.order = self.stub(Principal(), "order")

    def stub(self, principal: Principal, caller: str = "gateway") -> Any:
        return self._served.stub(UserServiceStub, principal, caller)

    def join(self, name: str = "Ada") -> Person:
        """Somebody new, signed in."""
        email = next(EMAILS)
        self.gateway.RegisterUser(pb.RegisterUserRequest(email=email, password=PASSWORD, display_name=name))
        return self.sign_in(email)

    def sign_in(self, email: str, password: str = PASSWORD, stub: Any = None) -> Person:
        """A session of somebody's."""
        signed_in = (stub or self.gateway).SignIn(pb.SignInRequest(email=email, password=password))
        principal = self.principal(signed_in.token)
        return Person(signed_in.user, email, signed_in.token, principal, self.stub(principal))

    def guest(self) -> Principal:
        """Somebody without an account."""
        return self.principal(self.gateway.StartGuestSession(pb.StartGuestSessionRequest()).token)

    def look_up(self, token: str) -> pb.SessionIdentity:
        identity: pb.SessionIdentity = self.gateway.LookUpSession(pb.LookUpSessionRequest(token_hash=digest(token)))
        return identity

    def principal(self, token: str) -> Principal:
        """Whom the gateway takes the bearer of a token for."""
        found = self.look_up(token)
        return Principal(found.subject, frozenset(found.roles), found.session_id, found.guest_id or None)

    def copy(self, token_hash: str) -> str | None:
        """What the gateway finds in Redis: None is nothing, an empty one says to ask again."""
        raw = self.redis.get(f"session:{token_hash}")
        return None if raw is None else raw.decode()

    def forget_copies(self) -> None:
        """Redis loses everything, as it may at any time."""
        self.redis.flushall()

    def sql(self, statement: str, *values: object) -> list[Any]:
        with self.database.reading() as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def told(self, user_id: str) -> list[str]:
        rows = self.sql("select type from outbox where aggregate_id = %s order by version", user_id)
        return [row[0].rpartition(".")[2] for row in rows]


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def an_address(latitude: float = 48.2, **changes: Any) -> pb.Address:
    """An address that has everything, in the north."""
    given: dict[str, Any] = {
        "label": "At home",
        "recipient": "Ada Lovelace",
        "line1": "12 St James's Square",
        "line2": "2nd floor",
        "postal_code": "SW1Y 4JH",
        "city": "London",
        "country_code": "GB",
        "phone": "+44 20 7946 0000",
        "location": LatLng(latitude=latitude, longitude=16.4),
    }
    return pb.Address(**(given | changes))


@contextmanager
def open_shop(database: Database, redis: Any) -> Iterator[Shop]:
    """The service, served."""
    shop = Shop(database, redis)
    with serve(shop.servicer()) as served:
        shop.opened(served)
        yield shop
