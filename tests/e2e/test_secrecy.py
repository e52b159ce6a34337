"""What is said aloud: in logs and on Kafka stands nothing by which a shopper would be known."""

from __future__ import annotations

from chaos.recording import records
from mercato.local.mesh import Mesh
from tests.e2e.opening import PASSWORD
from tests.e2e.town import Shop, ordered


def test_neither_logs_nor_events_of_the_run_tell_who_bought(mesh: Mesh, shop: Shop) -> None:
    buyer = shop.buyer()
    order = buyer.order(buyer.wish(shop.slot(), ordered(shop.sku()), note=f"ring at {buyer.identity.name}"))
    shop.pick(order["id"])
    shop.deliver(buyer.sees(order["id"], "READY"))
    buyer.sees(order["id"], "DELIVERED")
    again = {"email": buyer.identity.email, "password": PASSWORD, "displayName": buyer.identity.name}
    assert buyer.ask("/v1/users", again).json()["reason"] == "EMAIL_TAKEN"
    words = {word for identity in shop.identities for word in identity.words} | {PASSWORD}
    token = str(buyer.http.headers["Authorization"]).removeprefix("Bearer ")

    told = {f"log of {path.stem}": path.read_text(errors="replace") for path in mesh.home.logs.glob("*.log*")}
    for record in records(mesh.bootstrap):
        told[f"{record.topic} {record.type} {record.key}"] = f"{record.headers} {record.value.decode(errors='replace')}"
    assert any(order["id"] in text for where, text in told.items() if where.startswith("mercato.order.v1"))
    assert not {(where, word) for where, text in told.items() for word in words | {token} if word in text}
