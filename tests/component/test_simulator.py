"""The payment provider, asked through the real `stripe` SDK over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import stripe

from mercato.config import load
from simulator.config import SimulatorConfig
from simulator.journal import Journal, LogInUse
from simulator.server import Server

KEY = "sk_test_of_a_test"
VISA = "pm_card_visa"


class Shop:
    """A merchant's connection to one running provider."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        self.stripe = self.client(KEY)

    def client(self, key: str) -> stripe.StripeClient:
        """A client with another key, without retries of its own."""
        http = stripe.RequestsClient(timeout=30)
        base: Any = {"api": self.address}
        return stripe.StripeClient(key, base_addresses=base, max_network_retries=0, http_client=http)

    def authorize(
        self, card: str = "pm_card_visa", amount: int = 2500, key: str = "", **more: Any
    ) -> stripe.PaymentIntent:
        """Ask for an authorization."""
        params: Any = {
            "amount": amount,
            "currency": "usd",
            "capture_method": "manual",
            "confirm": True,
            "payment_method": card,
            **more,
        }
        return self.stripe.v1.payment_intents.create(params, options(key))

    def log(self) -> list[dict[str, Any]]:
        """The outside truth."""
        reply = httpx.get(f"{self.address}/_log", headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        return [orjson.loads(line) for line in reply.raise_for_status().text.splitlines()]


def options(key: str) -> Any:
    """A call's idempotency key, if it has one."""
    return {"idempotency_key": key} if key else {}


@contextmanager
def running(log: Path, **settings: str) -> Iterator[Shop]:
    """A provider on a free port, and a connection to it."""
    env = {"ADDRESS": "127.0.0.1:0", "LOG": str(log), "KEY": KEY, "SLOW": "300ms", "HANG": "10s"} | settings
    server = Server(load(SimulatorConfig, {f"MERCATO_SIMULATOR_{name}": value for name, value in env.items()}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Shop(server)
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def shop(log: Path) -> Iterator[Shop]:
    with running(log) as shop:
        yield shop


def test_an_authorization_waits_for_its_capture(shop: Shop) -> None:
    intent = shop.authorize(metadata={"order_id": "7"})
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 2500, 0)
    assert intent.id.startswith("pi_")
    assert intent.metadata["order_id"] == "7"


def test_a_capture_may_take_less_and_lets_the_rest_go(shop: Shop) -> None:
    intent = shop.authorize()
    captured = shop.stripe.v1.payment_intents.capture(
        intent.id, {"amount_to_capture": 2000, "expand": ["latest_charge"]}
    )
    assert (captured.status, captured.amount_capturable, captured.amount_received) == ("succeeded", 0, 2000)
    assert isinstance(captured.latest_charge, stripe.Charge)
    assert (captured.latest_charge.amount_captured, captured.latest_charge.amount) == (2000, 2500)


def test_a_capture_never_takes_more_than_was_authorized(shop: Shop) -> None:
    intent = shop.authorize()
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.stripe.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2501})
    assert refusal.value.code == "amount_too_large"
    assert shop.stripe.v1.payment_intents.retrieve(intent.id).status == "requires_capture"


def test_nothing_is_captured_twice_or_after_a_cancel(shop: Shop) -> None:
    taken, dropped = shop.authorize(), shop.authorize()
    shop.stripe.v1.payment_intents.capture(taken.id)
    assert shop.stripe.v1.payment_intents.cancel(dropped.id).status == "canceled"
    too_late: list[Callable[[], stripe.PaymentIntent]] = [
        lambda: shop.stripe.v1.payment_intents.capture(taken.id),
        lambda: shop.stripe.v1.payment_intents.capture(dropped.id),
        lambda: shop.stripe.v1.payment_intents.cancel(taken.id),
        lambda: shop.stripe.v1.payment_intents.cancel(dropped.id),
    ]
    for call in too_late:
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            call()
        assert refusal.value.code == "payment_intent_unexpected_state"


def test_refunds_end_where_the_capture_ended(shop: Shop) -> None:
    intent = shop.authorize()
    shop.stripe.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2000})
    first = shop.stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 1500, "metadata": {"why": "late"}})
    assert (first.status, first.amount, first.payment_intent) == ("succeeded", 1500, intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        shop.stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 501})
    assert shop.stripe.v1.refunds.create({"payment_intent": intent.id}).amount == 500
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.stripe.v1.refunds.create({"payment_intent": intent.id})
    assert refusal.value.code == "charge_already_refunded"
    listed = shop.stripe.v1.refunds.list({"payment_intent": intent.id})
    assert sum(refund.amount for refund in listed.data) == 2000
    assert shop.stripe.v1.refunds.retrieve(first.id).amount == 1500


def test_what_was_not_captured_is_not_refunded(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        shop.stripe.v1.refunds.create({"payment_intent": shop.authorize().id})


@pytest.mark.parametrize(
    ("card", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_declined_card_is_a_definite_no(shop: Shop, card: str, decline_code: str) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        shop.authorize(card)
    error: Any = refusal.value.error
    assert (refusal.value.http_status, refusal.value.code) == (402, "card_declined")
    assert error.decline_code == decline_code
    assert error.payment_intent["status"] == "requires_payment_method"


def test_an_unknown_card_is_no_such_payment_method(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.authorize("pm_of_nobody")
    assert (refusal.value.http_status, refusal.value.code) == (400, "resource_missing")
    assert refusal.value.param == "payment_method"


def test_an_unknown_payment_is_missing(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.stripe.v1.payment_intents.retrieve("pi_nothing")
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("amount", {"amount": "many"}),
        ("amount", {"amount": -1}),
        ("currency", {"currency": "money"}),
        ("currency", {"currency": ""}),
    ],
)
def test_a_malformed_parameter_is_named(shop: Shop, param: str, more: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.authorize(**more)
    assert refusal.value.param == param


def test_a_foreign_key_opens_nothing(shop: Shop) -> None:
    with pytest.raises(stripe.AuthenticationError):
        shop.client("sk_test_stolen").v1.payment_intents.list()
    assert httpx.get(f"{shop.address}/_log").status_code == 401


def test_a_repeat_with_the_same_key_has_no_second_effect(shop: Shop) -> None:
    first, second = shop.authorize(key="k"), shop.authorize(key="k")
    assert first.id == second.id
    assert replayed(second)
    assert not replayed(first)
    assert len(shop.stripe.v1.payment_intents.list().data) == 1


def test_a_repeat_answers_as_it_was_then(shop: Shop) -> None:
    intent = shop.authorize(key="k")
    shop.stripe.v1.payment_intents.capture(intent.id)
    assert shop.authorize(key="k").status == "requires_capture"


def test_a_decline_is_repeated_too(shop: Shop) -> None:
    ids = {declined(shop, key="k").payment_intent["id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_key_belongs_to_one_request(shop: Shop) -> None:
    shop.authorize(key="k")
    with pytest.raises(stripe.IdempotencyError) as refusal:
        shop.authorize(key="k", amount=2600)
    assert refusal.value.http_status == 400


def test_a_request_refused_as_invalid_leaves_its_key_free(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        shop.authorize("pm_of_nobody", key="k")
    assert shop.authorize(key="k").status == "requires_capture"


@pytest.mark.parametrize("sent", [b"", b"amount_to_capture=2"])
def test_whoever_dies_in_the_midst_of_a_request_has_asked_for_nothing(shop: Shop, sent: bytes) -> None:
    intent = shop.authorize(amount=2500)
    head = (
        f"POST /v1/payment_intents/{intent.id}/capture HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {KEY}\r\n"
        f"Idempotency-Key: capture-1\r\nContent-Length: {len('amount_to_capture=2500')}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shop.server.server_port)) as connection:
        connection.sendall(head.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert len(shop.log()) == 1
    captured = shop.stripe.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2500}, options("capture-1"))
    assert captured.amount_received == 2500


def test_while_the_first_request_runs_its_key_is_in_use(shop: Shop) -> None:
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(attempt, lambda: shop.authorize("pm_slow", key="k")) for _ in range(4)]
        outcomes = [call.result() for call in calls]
    refused = [o for o in outcomes if isinstance(o, stripe.StripeError)]
    assert {o.http_status for o in refused} == {409}
    assert len(refused) == 3
    assert shop.authorize("pm_slow", key="k").status == "requires_capture"


def test_twenty_at_once_with_one_key_make_one_payment(shop: Shop) -> None:
    barrier = threading.Barrier(20)

    def buy() -> stripe.PaymentIntent:
        barrier.wait()
        return shop.authorize(key="k")

    with ThreadPoolExecutor(20) as threads:
        outcomes = [call.result() for call in [threads.submit(attempt, buy) for _ in range(20)]]
    made = {o.id for o in outcomes if isinstance(o, stripe.PaymentIntent)}
    assert len(made) == 1
    assert {o.http_status for o in outcomes if isinstance(o, stripe.StripeError)} <= {409}
    assert len(shop.log()) == 1


@pytest.mark.parametrize(("card", "succeeds"), [("pm_timeout_then_success", True), ("pm_timeout_then_decline", False)])
def test_a_lost_reply_is_found_again_by_its_key(shop: Shop, card: str, succeeds: bool) -> None:
    hasty = stripe.StripeClient(
        KEY,
        base_addresses={"api": shop.address},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=0.2),
    )
    silent, shop.stripe = shop.stripe, hasty
    with pytest.raises(stripe.APIConnectionError):
        shop.authorize(card, key="k")
    while not shop.log():
        pass  # it gave up before it was heard
    shop.stripe = silent
    outcome = attempt(lambda: shop.authorize(card, key="k"))
    assert isinstance(outcome, stripe.PaymentIntent if succeeds else stripe.CardError)
    assert len(shop.log()) == 1


def test_a_flaky_provider_works_in_the_end_and_charges_once(shop: Shop) -> None:
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failure:
            shop.authorize("pm_flaky", key="k")
        assert failure.value.http_status == 500
    assert shop.authorize("pm_flaky", key="k").status == "requires_capture"
    assert len(shop.log()) == 1


def test_a_card_may_authorize_and_refuse_the_capture(shop: Shop) -> None:
    intent = shop.authorize("pm_capture_fails")
    with pytest.raises(stripe.CardError) as refusal:
        shop.stripe.v1.payment_intents.capture(intent.id, {}, options("c"))
    assert refusal.value.http_status == 402
    assert shop.stripe.v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    assert shop.stripe.v1.payment_intents.cancel(intent.id).status == "canceled"


def test_payments_are_listed_newest_first_page_by_page_and_by_time(shop: Shop) -> None:
    made = [shop.authorize(amount=100 + n).id for n in range(7)]
    pages = shop.stripe.v1.payment_intents.list({"limit": 3})
    assert [intent.id for intent in pages.auto_paging_iter()] == made[::-1]
    newest = pages.data[0].created
    assert not shop.stripe.v1.payment_intents.list({"created": {"gt": newest}}).data
    assert len(shop.stripe.v1.charges.list({"created": {"gte": newest - 60, "lte": newest}}).data) == 7


def test_payments_are_found_by_their_labels(shop: Shop) -> None:
    wanted = shop.authorize(metadata={"order_id": "7", "step": "1"})
    shop.authorize(metadata={"order_id": "8", "step": "1"})
    found = shop.stripe.v1.payment_intents.search({"query": "metadata['order_id']:'7' AND metadata['step']:'1'"})
    assert [intent.id for intent in found.data] == [wanted.id]


def test_a_restart_remembers_payments_and_keys(log: Path) -> None:
    with running(log) as shop:
        intent = shop.authorize(key="a", metadata={"order_id": "7"})
        shop.stripe.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2000}, options("c"))
        shop.stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 300}, options("r"))
        no = declined(shop, key="d")
    with running(log) as shop:
        again = shop.authorize(key="a", metadata={"order_id": "7"})
        assert (again.id, again.status) == (intent.id, "requires_capture")
        assert shop.stripe.v1.payment_intents.retrieve(intent.id).amount_received == 2000
        assert declined(shop, key="d").payment_intent["id"] == no.payment_intent["id"]
        with pytest.raises(stripe.IdempotencyError):
            shop.stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 301}, options("r"))
        assert shop.stripe.v1.refunds.create({"payment_intent": intent.id}).amount == 1700


def test_a_line_cut_short_by_a_crash_is_forgotten(log: Path) -> None:
    with running(log) as shop:
        kept = shop.authorize(key="a")
    with log.open("ab") as torn:
        torn.write(b'{"operation": "POST /v1/refu')
    with running(log) as shop:
        assert [intent.id for intent in shop.stripe.v1.payment_intents.list().data] == [kept.id]
        shop.authorize(key="b")
        assert [line["key"] for line in shop.log()] == ["a", "b"]


def test_a_log_has_one_writer(log: Path) -> None:
    with running(log), pytest.raises(LogInUse, match="stop it first"):
        Journal(log)


def test_the_log_is_all_that_happened(shop: Shop) -> None:
    intent = shop.authorize()
    shop.stripe.v1.payment_intents.capture(intent.id)
    declined(shop, key="d")
    assert [(line["operation"], line["status"]) for line in shop.log()] == [
        ("POST /v1/payment_intents", 200),
        (f"POST /v1/payment_intents/{intent.id}/capture", 200),
        ("POST /v1/payment_intents", 402),
    ]


def test_health_needs_no_key(shop: Shop) -> None:
    assert httpx.get(f"{shop.address}/healthz").json() == {"status": "ok"}


def test_an_unknown_path_is_told(shop: Shop) -> None:
    reply = httpx.post(f"{shop.address}/v1/payouts", headers={"Authorization": f"Bearer {KEY}"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")


def test_keys_of_different_length_are_all_taken_up_to_255(shop: Shop) -> None:
    assert shop.authorize(key="k" * 255).id
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        shop.authorize(key="k" * 256)


def test_payments_from_many_threads_are_all_in_the_log(shop: Shop) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [call.result().id for call in [threads.submit(shop.authorize, key=str(uuid4())) for _ in range(40)]]
    assert {line["changes"][0]["id"] for line in shop.log()} == set(made)


def declined(shop: Shop, key: str) -> Any:
    """The error object of a declined card."""
    with pytest.raises(stripe.CardError) as refusal:
        shop.authorize("pm_card_visa_chargeDeclined", key=key)
    return refusal.value.error


def attempt(call: Callable[[], stripe.PaymentIntent]) -> stripe.PaymentIntent | stripe.StripeError:
    """What a call came to: its answer or its error."""
    try:
        return call()
    except stripe.StripeError as error:
        return error


def replayed(intent: stripe.PaymentIntent) -> bool:
    """Whether the provider says that it only told again."""
    response: Any = intent.last_response
    return bool(response.headers.get("Idempotent-Replayed") == "true")
