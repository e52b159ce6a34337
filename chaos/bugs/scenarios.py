"""The scenarios: each leads straight to where some bug would matter. On a sound build they leave nothing to find."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import LiteralString
from uuid import UUID

from confluent_kafka import Producer

from chaos.bugs.stage import Stage
from chaos.proxy import Toxic, Way
from chaos.recording import records
from mercato.api.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.errors import MercatoError
from mercato.ids import derive
from mercato.rpc.call import Principal
from shop import city

Scenario = Callable[[Stage], None]

NO_KAFKA = "Kafka takes no events"
SOMEBODY_WAITS: LiteralString = "select count(*) > 0 from pg_locks where locktype = 'transactionid' and not granted"


def commit_fails(stage: Stage) -> None:
    """An order is refused by the database at the last moment; its customer asks again."""
    shopper, sku = stage.shopper(), stage.sku()
    with stage.armed("order.PlaceOrder.before_commit=raise"):
        stage.order(shopper, sku)
    stage.order(shopper, sku)


def kafka_is_away(stage: Stage) -> None:
    """Nobody takes events, for longer than the order service's relay waits."""
    shopper, sku = stage.shopper(), stage.sku()
    given_up = stage.said("order", NO_KAFKA)
    stage.proxies.refuse("mesh>kafka")
    first = stage.bought(shopper, sku)
    stage.cancel(shopper, first)
    stage.until(lambda: stage.said("order", NO_KAFKA) > given_up, "the relay has given up")
    stage.proxies.heal()
    stage.bought(shopper, sku)


def release_overtakes(stage: Stage) -> None:
    """Requests for stock are held up; the order is cancelled; then one of them arrives after all."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.proxies.spoil("order>inventory", Toxic(held=True), Way.REQUESTS)
    order_id = stage.order(shopper, sku).order_id
    stage.proxies.refuse("order>inventory")  # what was held up is lost
    stage.cancel(shopper, order_id)
    stage.proxies.heal()
    query = "select count(*) = 0 from orders.process where order_id = %s"
    stage.until(lambda: stage.ask_database(query, order_id), "it is compensated")
    _reserve_late(stage, order_id, sku)


def _reserve_late(stage: Stage, order_id: str, sku: str) -> None:
    channels = stage.channels("order")
    late = inventory_pb2.ReserveStockRequest(
        reservation_id=str(derive(UUID(order_id), "reservation")),
        order_id=order_id,
        warehouse_ids=[city.RIVERSIDE.id],
        lines=[inventory_pb2.StockLine(sku=sku, quantity=1)],
    )
    try:
        channels.stub(inventory_pb2_grpc.InventoryServiceStub, Principal(order_id)).ReserveStock(late)
    except MercatoError:
        return  # as it should be: it was given up before it came
    finally:
        channels.close()


def provider_hangs(stage: Stage) -> None:
    """The provider does what it is asked for, and nobody hears of it; then it is asked again."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.proxies.spoil("payment>simulator", Toxic(held=True), Way.REPLIES)
    order_id = stage.order(shopper, sku).order_id
    stage.proxies.refuse("payment>simulator")
    stage.proxies.heal()
    stage.sees(shopper, order_id, "CONFIRMED", "REJECTED")


def provider_is_slow(stage: Stage) -> None:
    """The provider takes so long that a worker asks as well: both hear the same answer."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.proxies.spoil("payment>simulator", Toxic(delay=1.3), Way.REPLIES)
    order_id = stage.order(shopper, sku).order_id
    stage.sees(shopper, order_id, "CONFIRMED", "REJECTED")


def last_unit(stage: Stage) -> None:
    """Three want the last unit, at once and one after the other."""
    sku = stage.scarce(1)
    shoppers = [stage.shopper() for _ in range(3)]
    at_once(*(lambda each=each: stage.order(each, sku) for each in shoppers))
    stage.order(shoppers[0], sku)


def cancelled_without_inventory(stage: Stage) -> None:
    """An order is called off while inventory cannot be reached."""
    shopper, sku = stage.shopper(), stage.sku()
    order_id = stage.bought(shopper, sku)
    stage.proxies.refuse("order>inventory")
    stage.cancel(shopper, order_id)
    stage.proxies.heal()


def listener_stumbles(stage: Stage) -> None:
    """A courier takes two orders along; whoever is to hear of it fails once, and hears it again."""
    shopper, sku, courier = stage.shopper(), stage.sku(), stage.staff("courier")
    shipments = [stage.shipment_of(shopper, stage.packed(shopper, sku)) for _ in range(2)]
    for each in shipments:
        stage.staff("warehouse").ask("assign", f"/v1/shipments/{each}:assign", {"courierId": courier.id})
    stage.at_rest()  # nobody else is to stumble
    told = "select count(*) = 0 from delivery.outbox where aggregate_id = %s"
    with stage.armed("order.neighbours.before_commit=raise:2"):
        for each in shipments:
            courier.ask("pickUp", f"/v1/shipments/{each}:pickUp")
            # Each by itself: what comes together is one transaction.
            stage.until(partial(stage.ask_database, told, each), "it is told")
        stage.until(lambda: stage.struck("order", "order.neighbours.before_commit"), "it stumbles")


def asked_twice(stage: Stage) -> None:
    """A client that heard nothing asks again with the same key, twice at once."""
    shopper, sku = stage.shopper(), stage.sku()
    operation = stage.order(shopper, sku)
    at_once(lambda: shopper.repeat(operation), lambda: shopper.repeat(operation))


def relay_comes_back(stage: Stage) -> None:
    """A relay that was stopped long ago sends an event that others have long overtaken."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.bought(shopper, sku)
    query = "select count(*) = 0 from inventory.outbox"
    stage.until(lambda: stage.ask_database(query), "all is published")
    told = [each for each in records(stage.arena.mesh.bootstrap, "inventory") if sku.encode() in each.value]
    old = told[0]
    stage.bought(shopper, sku)
    producer = Producer({"bootstrap.servers": stage.arena.mesh.bootstrap})
    producer.produce(old.topic, old.value, old.key, headers=[(name, value) for name, value in old.headers.items()])
    producer.flush(10)


def short_pick(stage: Stage) -> None:
    """Less is found than was ordered."""
    stage.packed(stage.shopper(), stage.sku(), quantity=3, picked=1)


def return_unanswered(stage: Stage) -> None:
    """A return is approved; that the money was given back is not heard, and asked for again."""
    shopper, sku = stage.shopper(), stage.sku()
    order_id = stage.packed(shopper, sku, quantity=3)
    stage.deliver(shopper, order_id)
    wish = {"lines": [{"sku": sku, "quantity": 1}], "reason": "not as expected"}
    shopper.ask("requestReturn", f"/v1/orders/{order_id}:requestReturn", wish)
    stage.proxies.spoil("order>payment", Toxic(held=True), Way.REPLIES)
    support = stage.staff("support")
    support.ask("approveReturn", f"/v1/orders/{order_id}:approveReturn", {"restock": []})
    query = "select coalesce(sum(refunded), 0) > 0 from payments.payment where order_id = %s"
    stage.until(lambda: stage.ask_database(query, order_id), "it is given back")
    stage.proxies.refuse("order>payment")
    stage.proxies.heal()


def hold_runs_out(stage: Stage) -> None:
    """An order is confirmed, and the time passes for which its stock was held."""
    shopper, sku = stage.shopper(), stage.sku()
    order_id = stage.bought(shopper, sku)
    query = "select expire_time + interval '2 s' < now() from inventory.reservation where order_id = %s"
    stage.until(lambda: stage.ask_database(query, order_id), "the hold would have run out", within=120)


def cancel_races_picking(stage: Stage) -> None:
    """A customer calls an order off, and before that is committed somebody begins to pick it."""
    warehouse, shopper, sku = stage.staff("warehouse"), stage.shopper(), stage.sku()
    order_id = stage.bought(shopper, sku)
    cancelling = threading.Thread(target=stage.cancel, args=(shopper, order_id))
    picking = threading.Thread(target=warehouse.ask, args=("startPicking", f"/v1/orders/{order_id}:startPicking"))
    with stage.armed("order.CancelOrder.before_commit=hang"):
        cancelling.start()
        stage.until(lambda: stage.struck("order", "order.CancelOrder.before_commit"), "the cancel hangs")
        picking.start()
        stage.until(lambda: stage.ask_database(SOMEBODY_WAITS), "the picker waits for the same version")
    cancelling.join()
    picking.join()


def capture_is_refused(stage: Stage) -> None:
    """The card that was good for the authorization refuses the capture."""
    shopper, sku = stage.shopper(), stage.sku()
    order_id = stage.bought(shopper, sku, method="pm_capture_fails")
    stage.pick(order_id, sku, 1)
    stage.sees(shopper, order_id, "PAYMENT_DUE", "READY")


def void_overtakes(stage: Stage) -> None:
    """An order is called off while nobody knows yet that its money was reserved."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.proxies.spoil("payment>simulator", Toxic(held=True), Way.REPLIES)
    order_id = stage.order(shopper, sku).order_id
    stage.cancel(shopper, order_id)
    query = "select count(*) > 0 from payments.payment where order_id = %s and state = 'VOIDED'"
    stage.until(lambda: stage.ask_database(query, order_id), "it is voided")
    stage.proxies.refuse("payment>simulator")
    stage.proxies.heal()


def payment_is_away(stage: Stage) -> None:
    """Payment cannot be reached for longer than the customer waits."""
    shopper, sku = stage.shopper(), stage.sku()
    stage.proxies.refuse("order>payment")
    order_id = stage.order(shopper, sku).order_id
    stage.proxies.heal()
    query = "select state <> 'PENDING' from orders.order_view where order_id = %s"
    stage.until(lambda: stage.ask_database(query, order_id), "it is decided")


def commits_out_of_order(stage: Stage) -> None:
    """Whoever began to write first commits last; meanwhile readers have passed by."""
    first, second, sku = stage.shopper(), stage.shopper(), stage.sku()
    slow, quick = stage.bought(first, sku), stage.bought(second, sku)
    with stage.armed("order.CancelOrder.before_commit=hang"):
        cancelling = threading.Thread(target=stage.cancel, args=(first, slow))
        cancelling.start()
        stage.until(lambda: stage.struck("order", "order.CancelOrder.before_commit"), "the first one hangs")
        stage.pick(quick, sku, 1)
        stage.sees(second, quick, "READY")
    cancelling.join()


def at_once(*acts: Callable[[], object]) -> None:
    """Do several things at the same moment."""
    barrier = threading.Barrier(len(acts))

    def act(do: Callable[[], object]) -> None:
        barrier.wait()
        do()

    threads = [threading.Thread(target=act, args=(do,)) for do in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
