"""One person of each role, each with something of everything that people have of their own.

All of them began as customers: each has an address, two sessions, and an order that is being picked, so that there is
something to be refused. What is theirs stays as it is: see `tests.e2e.asking`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mercato.api.user.v1 import user_pb2, user_pb2_grpc
from mercato.auth import Signer
from mercato.ids import uuid7
from mercato.local.mesh import Mesh
from mercato.rpc.call import NOBODY, Principal
from mercato.rpc.channel import Channels
from tests.access import ACCOUNTS, ANONYMOUS
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Buyer, Person, Shop, ordered, until

OWN, ANOTHERS, MISSING = "own", "another's", "missing"
Things = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Somebody:
    """Who asks: as whom the gateway knows them, and what they show at its door."""

    role: str
    principal: Principal = NOBODY
    token: str = ""
    spare: str = ""
    things: Things = field(default_factory=dict)


class People:
    """One of each role, and one more customer, whose things are another's to all."""

    def __init__(self, mesh: Mesh, shop: Shop) -> None:
        self._shop = shop
        self._channels = Channels(Signer.load(mesh.home.keys, "gateway"), mesh.targets)
        self._users = self._channels.stub(user_pb2_grpc.UserServiceStub, NOBODY)
        self._sku, self._slot = shop.sku(stock=100), shop.slot()
        product = shop.staff("catalog").get("/v1/products", brand=self._sku)["products"][0]
        self._common = {
            "sku": self._sku,
            "product": product["id"],
            "category": product["categoryId"],
            "slot": self._slot,
            "offer": self._sku,
        }
        self._meet(shop)

    def _meet(self, shop: Shop) -> None:
        bringer = shop.buyer()
        shop.staff("warehouse").post("/v1/couriers", {"id": bringer.id, "name": "One who brings"})
        other = self._grown("customer", shop.buyer(), shop.staff("courier").id)
        grown = {role: self._grown(role, shop.buyer(), bringer.id) for role in ACCOUNTS if role != "courier"}
        # What the courier is to bring is the customer's: that is what is theirs.
        courier = self._grown("courier", bringer, bringer.id)
        brought = {name: grown["customer"].things[name] for name in ("order", "shipment", "payment")}
        grown["courier"] = Somebody(
            "courier", courier.principal, courier.token, courier.spare, {**courier.things, **brought}
        )
        self._others = other.things
        gone = {name: str(uuid7()) for name in ("product", "category", *other.things)}
        self.missing = {**self._common, **gone, "sku": "no-such-thing"}
        guest = self._guest(shop.guest())
        everybody = [Somebody(ANONYMOUS, things=grown["customer"].things), guest, *grown.values()]
        self.of = {somebody.role: somebody for somebody in everybody}
        self._await_open_orders()

    def target(self, asker: Somebody, whose: str, rpc: str = "") -> Things:
        """What a request is about. An address that is to be removed is there for that."""
        if rpc == "DeleteAddress" and whose == OWN and asker.role in ACCOUNTS:
            return {**self._common, **asker.things, "address": self._another_address(asker)}
        if whose == MISSING:
            return self.missing
        return {**self._common, **(asker.things if whose == OWN else self._others)}

    def _another_address(self, somebody: Somebody) -> str:
        users = self._channels.stub(user_pb2_grpc.UserServiceStub, somebody.principal)
        asked = user_pb2.GetAddressRequest(user_id="me", id=somebody.things["address"])
        return str(users.CreateAddress(user_pb2.CreateAddressRequest(user_id="me", address=users.GetAddress(asked))).id)

    def close(self) -> None:
        """Go."""
        self._channels.close()

    def _guest(self, visitor: Person) -> Somebody:
        token = visitor.post("/v1/sessions:guest")["token"]
        spare = visitor.post("/v1/sessions:guest")["token"]
        principal, session = self._known(token), self._known(spare).session_id
        return Somebody(
            "guest", principal, token, spare, {**self._others, "user": principal.subject, "session": session}
        )

    def _grown(self, role: str, buyer: Buyer, courier_id: str) -> Somebody:
        """A customer with an order, who becomes something else."""
        shop, place = self._shop, f"/v1/users/{buyer.id}/roles"
        order = buyer.order(buyer.wish(self._slot, ordered(self._sku)))
        shop.staff("warehouse").post(f"/v1/orders/{order['id']}:startPicking")
        shipment = until(lambda: shop.shipments(order["id"]), "it has a shipment")[0]["id"]
        shop.staff("warehouse").post(f"/v1/shipments/{shipment}:assign", {"courierId": courier_id})
        token = str(buyer.http.headers["Authorization"]).removeprefix("Bearer ")
        spare = buyer.post("/v1/sessions", {"email": buyer.identity.email, "password": PASSWORD})["token"]
        if role != "customer":
            shop.staff("admin").put(place, {"roles": [role]})
        things = {
            "user": buyer.id,
            "address": buyer.address_id,
            "session": self._known(spare).session_id,
            "order": order["id"],
            "payment": order["paymentId"],
            "shipment": shipment,
        }
        return Somebody(role, self._known(token), token, spare, things)

    def _known(self, token: str) -> Principal:
        """Whom the user service knows by a token."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = self._users.LookUpSession(user_pb2.LookUpSessionRequest(token_hash=digest))
        return Principal(found.subject, frozenset(found.roles), found.session_id, found.guest_id or None)

    def _await_open_orders(self) -> None:
        """Until the user service has heard of the orders, by which it refuses to erase their customers."""
        admin = self._shop.staff("admin")
        until(
            lambda: not int(admin.get("/v1/ops/order").get("outbox", {}).get("depth", 0)), "the orders' events are out"
        )

        def heard() -> bool:
            return not any(int(each.get("lag", 0)) for each in admin.get("/v1/ops/user")["consumers"])

        until(heard, "the user service has heard them")
