"""Several processes of the order service at the same orders: leases, fencing tokens, and one right end (F11, F12)."""

import threading
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from mercato.errors import Unavailable
from mercato.postgres import Database
from services.order.process import ProcessManager
from tests.component.order_shop import Shop, patient, state

LONG = 60.0
CALLS = ["ReserveStock", "HoldSlot", "AuthorizePayment", "CommitReservation", "ConfirmSlot"]


class Gate:
    """Where somebody waits until they are let go on."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._open.wait(LONG)

    def reached(self) -> None:
        """Wait until somebody stands there."""
        assert self._reached.wait(LONG)

    def open(self) -> None:
        """Let them go on."""
        self._open.set()


def other_process(shop: Shop) -> ProcessManager:
    """Another process of the service, over the same database and among the same neighbours."""
    first, shop.config = shop.parts, patient()
    shop.start()
    second, shop.parts = shop.parts.process, first
    return second


def takes_over(process: ProcessManager, until: threading.Event) -> None:
    """Work until there is something to do, and it is done."""
    while not until.is_set() and not process.run_once():
        until.wait(0.001)


@pytest.mark.parametrize("call", CALLS)
def test_what_a_paused_process_writes_when_it_wakes_changes_nothing(order_database: Database, call: str) -> None:
    """It is paused in the middle of a call for longer than its lease; another one finishes; then it goes on."""
    shop = Shop(order_database, patient(lease=timedelta(milliseconds=20)))
    gate, told = Gate(), []
    shop.points.hooks[f"{call}.after"] = gate.wait
    placing = threading.Thread(target=lambda: told.append(shop.place()))
    placing.start()
    gate.reached()
    second = other_process(shop)
    (order_id,) = shop.sql("select order_id from order_view")[0]
    takes_over(second, threading.Event())
    finished = shop.sql("select version from order_view")
    assert state(shop.order(str(order_id))) == "CONFIRMED"
    gate.open()
    placing.join()
    assert shop.sql("select version from order_view") == finished
    kinds = Counter(row[0] for row in shop.sql("select type from events where stream_id = %s", order_id))
    assert max(kinds.values()) == 1
    assert state(told[0]) == "CONFIRMED"  # it says what the other one made of it
    assert not shop.left()
    assert shop.inventory.free == {"milk": 8, "rye": 9}


@pytest.mark.parametrize("call", CALLS)
def test_who_lost_the_lease_writes_nothing_while_the_other_is_at_it(order_database: Database, call: str) -> None:
    """Both are through with their calls; only the one with the later token may say what came of them."""
    shop = Shop(order_database, patient(lease=timedelta(milliseconds=20)))
    first, second = Gate(), Gate()
    shop.points.hooks[f"{call}.after"] = first.wait
    told = list[str]()
    placing = threading.Thread(target=lambda: told.append(state(shop.place())))
    placing.start()
    first.reached()
    shop.points.hooks[f"{call}.after"] = second.wait
    working = threading.Thread(target=takes_over, args=[other_process(shop), threading.Event()])
    working.start()
    second.reached()
    first.open()
    placing.join()
    assert told == ["PENDING"]
    assert shop.sql("select type from events join order_view on stream_id = order_id") == [("OrderPlaced",)]
    assert shop.left() == ["CHECK_OUT"]
    second.open()
    working.join()
    (order_id,) = shop.sql("select order_id from order_view")[0]
    assert state(shop.order(str(order_id))) == "CONFIRMED"
    assert not shop.left()


def test_a_lease_that_is_held_keeps_all_others_away(order_database: Database) -> None:
    shop = Shop(order_database)
    seen = []
    shop.points.hooks["AuthorizePayment.after"] = lambda: seen.append(other_process(shop).run_once())
    assert state(shop.place()) == "CONFIRMED"
    assert seen == [False]


def test_three_processes_that_take_each_other_s_tasks_make_of_every_order_one_right_one(
    order_database: Database,
) -> None:
    shop = Shop(order_database, patient(at_once=0))
    shop.inventory.free = Counter({"milk": 100, "rye": 100})
    shop.deliveries.places[str(shop.slot_id)] = 100
    orders = [UUID(shop.place(key=str(number)).id) for number in range(12)]
    for call in CALLS:
        shop.points.fail(f"{call}.before", *[Unavailable()] * 3)
        shop.points.fail(f"{call}.after", *[Unavailable()] * 3)
    processes = [other_process(shop) for _ in range(3)]
    done = threading.Event()

    def work(process: ProcessManager) -> None:
        while not done.is_set():
            process.run_once()

    threads = [threading.Thread(target=work, args=[process]) for process in processes * 2]
    for thread in threads:
        thread.start()
    for _ in range(40):  # whoever is at something loses it in the middle
        shop.sql("update process set next_run_at = clock_timestamp(), lease_until = clock_timestamp()")
    while shop.left():
        shop.sql("update process set next_run_at = clock_timestamp()")
    done.set()
    for thread in threads:
        thread.join()
    assert [state(shop.order(str(each))) for each in orders] == ["CONFIRMED"] * 12
    assert shop.inventory.free == {"milk": 76, "rye": 88}
    assert [claim.state for claim in shop.payments.payments.values()] == ["AUTHORIZED"] * 12
    assert len(shop.deliveries.shipments) == 12
    told = shop.sql("select type, count(*) from outbox where topic = 'mercato.order.v1' group by type order by type")
    assert [row[1] for row in told] == [12, 12]
