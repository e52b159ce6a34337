"""Following an order over a WebSocket, from the till to the door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.town import Buyer, Shop, ordered

PLACES = [(39.1010, -84.5100), (39.1020, -84.5110)]


@contextmanager
def watched(buyer: Buyer, order_id: str, last: str = "") -> Iterator[ClientConnection]:
    """The order's frames, from the one after the last that was seen."""
    address = str(buyer.http.base_url).replace("http", "ws", 1)
    headers = {"Authorization": str(buyer.http.headers["Authorization"])}
    query = f"?lastEventId={last}" if last else ""
    with connect(f"{address}/v1/orders/{order_id}/events{query}", additional_headers=headers, proxy=None) as socket:
        yield socket


def told(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """What is told until something happens."""
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["event"] != kind:
        frames.append(json.loads(socket.recv(timeout=60)))
    return frames


def test_a_customer_follows_the_courier_to_the_door(shop: Shop) -> None:
    buyer, courier = shop.buyer(), shop.staff("courier")
    order = buyer.order(buyer.wish(shop.slot(), ordered(shop.sku(), 2)))
    with watched(buyer, order["id"]) as socket:
        heard = told(socket, "OrderConfirmed")
        shop.pick(order["id"])
        heard += told(socket, "OrderReady")
    # The connection breaks, and the client comes back.
    with watched(buyer, order["id"], last=heard[-1]["id"]) as socket:
        shipment = buyer.sees(order["id"], "READY")["shipmentId"]
        shop.staff("warehouse").post(f"/v1/shipments/{shipment}:assign", {"courierId": courier.id})
        courier.post(f"/v1/shipments/{shipment}:pickUp")
        heard += told(socket, "OrderOutForDelivery")
        for latitude, longitude in PLACES:
            place = {"latitude": latitude, "longitude": longitude}
            courier.post(f"/v1/shipments/{shipment}/positions", place)
            frame = told(socket, "CourierPosition")[-1]
            assert (frame["data"]["position"], frame["data"]["shipmentId"]) == (place, shipment)
            assert frame["data"]["estimatedArrival"]
            assert buyer.get(f"/v1/shipments/{shipment}")["position"] == place
        courier.post(f"/v1/shipments/{shipment}:deliver")
        heard += told(socket, "OrderDelivered")
        with suppress(ConnectionClosed):
            told(socket, "nothing more")
        assert socket.close_code == 1000
    history = buyer.get(f"/v1/orders/{order['id']}/history")["events"]
    frames = [frame for frame in heard if "id" in frame]
    assert [frame["data"] for frame in frames] == history
    assert [frame["id"] for frame in frames] == [entry["version"] for entry in history]
