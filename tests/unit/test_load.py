"""Whom a process with too much to do refuses first."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from mercato.api.order.v1 import order_pb2
from mercato.api.payment.v1 import payment_pb2
from mercato.policy import Criticality, policy_of
from mercato.rpc.load import Load


def test_the_less_critical_a_call_the_sooner_it_is_refused() -> None:
    refused: dict[int, list[str]] = {}
    with ThreadPoolExecutor(1) as pool:
        load, began, end = Load(pool, most=8), threading.Event(), threading.Event()
        pool.submit(began.set)
        pool.submit(end.wait, 60)
        assert began.wait(60)
        while pool._work_queue.qsize():
            os.sched_yield()
        for waiting in range(9):
            refused[waiting] = [each.name for each in Criticality if load.refuses(each)]
            pool.submit(int)
        end.set()
    assert refused[1] == []
    assert refused[2] == refused[3] == ["SHEDDABLE"]
    assert refused[4] == refused[5] == ["SHEDDABLE", "SHEDDABLE_PLUS"]
    assert refused[6] == refused[7] == ["SHEDDABLE", "SHEDDABLE_PLUS", "CRITICAL"]
    assert refused[8] == ["SHEDDABLE", "SHEDDABLE_PLUS", "CRITICAL", "CRITICAL_PLUS"]


def test_what_goes_on_with_accepted_work_is_refused_last() -> None:
    orders = order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
    payments = payment_pb2.DESCRIPTOR.services_by_name["PaymentService"].methods_by_name
    assert policy_of(orders["ListOrders"]).criticality is Criticality.SHEDDABLE
    assert policy_of(orders["GetOrder"]).criticality is Criticality.SHEDDABLE_PLUS
    assert policy_of(orders["PlaceOrder"]).criticality is Criticality.CRITICAL
    assert policy_of(payments["AuthorizePayment"]).criticality is Criticality.CRITICAL_PLUS
    assert policy_of(payments["HandleWebhook"]).criticality is Criticality.CRITICAL_PLUS
