"""Those who send: one of each role, a guest, and nobody. Whoever loses the session, or the account, comes anew."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence

from chaos.fuzz.hoard import Hoard
from chaos.sweep.client import insist
from chaos.sweep.town import PASSWORD, Buyer, Town
from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.errors import MercatoError
from mercato.ids import uuid7
from mercato.policy import Policy, decide
from mercato.rpc.call import Principal
from shop.rest import Visitor

STAFF = ("support", "catalog", "warehouse", "courier", "finance", "admin")
ROLES = ("nobody", "guest", "customer", "customer", *STAFF)


class Person:
    """Somebody of a role, with a session that may end at any moment."""

    def __init__(self, role: str, town: Town, hoard: Hoard) -> None:
        self.role = role
        self.token = ""
        self.id = ""
        self.buyer: Buyer | None = None
        self.own: Mapping[str, str] = {}
        self._town = town
        self._hoard = hoard
        self._lock = threading.Lock()

    @property
    def principal(self) -> Principal:
        """Who that is behind the gateway."""
        roles = frozenset({self.role}) if self.role != "nobody" else frozenset()
        return Principal(self.id, roles, str(uuid7()) if self.id else "")

    def renew(self, stale: str) -> None:
        """Come with a new session, unless somebody has seen to it since the stale one was used."""
        with self._lock:
            if self.token == stale and self.role != "nobody":
                # The mesh is busy with what it is sent: one answer that comes too late does not end the run.
                insist(self._begin, f"a new session for {self.role}")

    def _begin(self) -> None:
        if self.role == "customer":
            buyer = self.buyer = self._town.buyer()
            self.token, self.id = buyer.token, buyer.id
            self._hoard.add("address", buyer.address_id)
        elif self.role == "guest":
            with Visitor(self._town.mesh.url) as guest:
                session = guest.post("/v1/sessions:guest")
            self.token, self.id = session["token"], str(uuid7())  # what a guest is called, the session does not tell
        else:
            self.token, self.id = _employed(self._town, self.role)
        self._hoard.add("user", self.id)
        own = {"user": self.id, "slot": self._town.slot(), "address": self.buyer.address_id if self.buyer else ""}
        self.own = {kind: value for kind, value in own.items() if value}


def may(policy: Policy, who: Person, caller: str) -> bool:
    """Whether somebody may call an rpc by a caller."""
    try:
        decide(policy, who.principal, caller)
    except MercatoError:
        return False
    return True


def crowd(town: Town, hoard: Hoard) -> Sequence[Person]:
    """All of them, each with a session."""
    people = [Person(role, town, hoard) for role in ROLES]
    for person in people:
        person.renew("")
        if person.buyer:
            _live(person.buyer, town, hoard)
    return people


def _live(buyer: Buyer, town: Town, hoard: Hoard) -> None:
    """Order things, which come to different ends: so that there is something to ask for."""
    for order in (buyer.order(), town.ready(buyer), town.delivered(buyer)):
        hoard.learn(order, "order")
        hoard.add("order", str(order["id"]))


def _employed(town: Town, role: str) -> tuple[str, str]:
    """A new account of a role: token and id."""
    email = f"fuzz-{role}-{secrets.token_hex(8)}@mercato.example"
    account = user_pb2.PutAccountRequest(email=email, password=PASSWORD, display_name=role, roles=[role])
    user = town.channels.stub(user_pb2_grpc.UserServiceStub).PutAccount(account)
    with Visitor(town.mesh.url) as visitor:
        visitor.sign_in(email, PASSWORD)
        return visitor.token, user.id
