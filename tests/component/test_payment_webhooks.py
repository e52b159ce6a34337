"""What the provider tells by webhook: taken once, however often, in whatever order, and only from the provider."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.api.payment.v1.payment_pb2_grpc import PaymentServiceStub
from mercato.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import at_once, staff
from services.payment.domain import Alarm, Kind, PaymentVoided
from services.payment.resolution import ALARMS
from services.payment.webhook import BadSignature
from simulator.event import Event
from tests.component.gateway.conftest import Running
from tests.component.payment_shop import UNKNOWN, WEBHOOK_SECRET, Shop, behind_our_back, opened
from tests.component.provider_process import ProviderProcess, provider_running


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider"), HANG="10s") as provider:
        yield provider


@pytest.fixture(scope="module")
def shop(payment_database: Database, provider: ProviderProcess) -> Iterator[Shop]:
    with opened(payment_database, provider) as shop:
        yield shop


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


# Who may tell


def test_a_webhook_that_the_provider_did_not_sign_or_long_ago_is_refused(shop: Shop) -> None:
    event = shop.events(shop.authorize().id)[0]
    for signature in (
        "",
        "t=1,v1=00",
        event.signature("whsec_of_somebody_else", _now()),
        event.signature(WEBHOOK_SECRET, _now() - 301),
        Event("", event.body + b" ", late=False).signature(WEBHOOK_SECRET, _now()),
    ):
        with pytest.raises(BadSignature) as refused:
            shop.tell(event, signature)
        assert refused.value.reason == "BAD_SIGNATURE"


def test_only_the_gateway_brings_webhooks_and_only_of_providers_that_there_are(shop: Shop) -> None:
    event = shop.events(shop.authorize().id)[0]
    with pytest.raises(NotFound):
        shop.tell(event, provider="paypal")
    request = pb.HandleWebhookRequest(provider="stripe", body=event.body, signature="")
    with pytest.raises(PermissionDenied):
        shop.order.HandleWebhook(request)
    orders: PaymentServiceStub = shop.served.stub(PaymentServiceStub, staff("finance"), "operator")
    with pytest.raises(PermissionDenied):
        orders.HandleWebhook(request)


def test_kinds_and_payments_that_mean_nothing_here_are_taken_and_left_aside(shop: Shop) -> None:
    known = json.loads(shop.events(shop.authorize().id)[0].body)
    strange = {**known, "type": "customer.subscription.trial_will_end"}
    assert shop.tell(Event("", json.dumps(strange).encode(), late=False)) == "IGNORED"
    known["data"]["object"]["metadata"] = {"payment_id": str(uuid7())}
    assert shop.tell(Event("", json.dumps(known).encode(), late=False)) == "IGNORED"
    with pytest.raises(InvalidArgument):
        shop.tell(Event("", b"{", late=False))


# What is told is taken in once


def test_five_times_everything_at_once_has_no_second_effect(shop: Shop) -> None:
    payment = shop.captured(1000)
    shop.refund(payment.id, 300)
    stood, told, booked = shop.stands(payment.id), shop.told(payment.id), shop.booked(payment.id)
    events = shop.events(payment.id)
    assert len(events) == 3
    outcomes = [outcome for event in events for outcome in at_once(partial(shop.tell, event), 5)]
    assert set(outcomes) == {"KNOWN"}
    assert (shop.stands(payment.id), shop.told(payment.id), shop.booked(payment.id)) == (stood, told, booked)


def _captured(shop: Shop, payment_id: str) -> None:
    behind_our_back(shop, payment_id, Kind.CAPTURE)


def _refunded_in_part(shop: Shop, payment_id: str) -> None:
    _captured(shop, payment_id)
    for amount in (300, 200):
        behind_our_back(shop, payment_id, Kind.REFUND, amount)


def _refunded(shop: Shop, payment_id: str) -> None:
    _refunded_in_part(shop, payment_id)
    behind_our_back(shop, payment_id, Kind.REFUND, 2000)


def _expired(shop: Shop, payment_id: str) -> None:
    shop.provider.steer("/_expire", payment_intent=_reference(shop, payment_id))


def _reference(shop: Shop, payment_id: str) -> str:
    with shop.database.reading() as connection:
        row = connection.execute("select reference from payment where id = %s", [payment_id]).fetchone()
    assert row
    return str(row[0])


# What may happen at the provider to an authorized payment without our doing; where it stands then, and the books.
LIVES: dict[str, tuple[Callable[[Shop, str], None], tuple[str, int, int], dict[str, int]]] = {
    "captured": (_captured, ("CAPTURED", 2500, 0), {"provider_balance": 2500, "sales": -2500}),
    "refunded in part": (
        _refunded_in_part,
        ("CAPTURED", 2500, 500),
        {"provider_balance": 2000, "sales": -2500, "refunds": 500},
    ),
    "refunded": (_refunded, ("REFUNDED", 2500, 2500), {"sales": -2500, "refunds": 2500}),
    "expired": (_expired, ("VOIDED", 0, 0), {}),
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LIVES)), st.randoms(use_true_random=False), st.integers(1, 5))
def test_in_whatever_order_webhooks_come_they_lead_to_the_same(shop: Shop, name: str, dice: object, times: int) -> None:
    act, stands, booked = LIVES[name]
    payment = shop.authorize()
    act(shop, payment.id)
    events = shop.events(payment.id) * times
    dice.shuffle(events)  # type: ignore[attr-defined]  # hypothesis gives a random.Random and does not say so
    outcomes = [shop.tell(event) for event in events]
    assert set(outcomes) <= {"KNOWN", "RECORDED"}
    assert (shop.stands(payment.id), shop.booked(payment.id)) == (stands, booked)
    told = shop.told(payment.id)
    assert told.count("Captured") == (1 if "VOIDED" not in stands else 0)
    assert [shop.tell(event) for event in events] == ["KNOWN"] * len(events)
    assert shop.told(payment.id) == told


def test_two_webhooks_at_once_take_a_payment_over_once(shop: Shop) -> None:
    payment = shop.authorize()
    _refunded_in_part(shop, payment.id)
    last = shop.events(payment.id)[-1]
    assert set(at_once(partial(shop.tell, last), 8)) <= {"KNOWN", "RECORDED"}
    assert shop.told(payment.id) == ["Authorized", "Captured", "Refunded"]
    assert shop.stands(payment.id) == ("CAPTURED", 2500, 500)


def test_what_is_not_answered_is_asked_for_at_once_when_a_webhook_tells_of_it(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    shop.execute("update attempt set due_time = now() + interval '1 hour' where payment_id = %s", payment_id)
    assert not shop.resolution.resolve_due()
    assert shop.tell(shop.events(payment_id)[0]) == "HASTENED"
    assert shop.resolution.resolve_due()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert shop.provider.done_for(payment_id) == ["payment_intents"]
    assert shop.tell(shop.events(payment_id)[0]) == "KNOWN"


def test_a_success_that_is_told_after_the_void_is_let_go_and_alarmed(shop: Shop) -> None:
    payment_id, alarms = str(uuid7()), ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID)
    with shop.provider.frozen():
        with pytest.raises(UNKNOWN):
            shop.authorize(payment_id=payment_id, within=0.7)
        assert shop.void(payment_id).state == pb.Payment.VOIDED
    event = shop.events(payment_id)[0]
    assert shop.tell(event) == "HASTENED"
    shop.resolve_all()
    assert shop.provider.done_for(payment_id) == ["payment_intents", "cancel"]
    assert ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID) == alarms + 1
    assert (shop.booked(payment_id), shop.told(payment_id)) == ({}, ["Voided"])
    assert {shop.tell(each) for each in shop.events(payment_id)} == {"KNOWN"}


def test_what_could_not_be_looked_up_is_to_be_told_again(shop: Shop) -> None:
    payment = shop.authorize()
    _captured(shop, payment.id)
    event = shop.events(payment.id)[-1]
    with shop.provider.frozen(), pytest.raises(Unavailable):
        shop.tell(event)
    assert shop.get(payment.id).state == pb.Payment.AUTHORIZED
    assert shop.tell(event) == "RECORDED"
    assert shop.get(payment.id).state == pb.Payment.CAPTURED


# Authorizations that end


def _gone(shop: Shop, payment_id: str) -> None:
    for _ in range(2):
        with pytest.raises(PaymentVoided) as gone:
            shop.capture(payment_id, 2500)
        assert gone.value.metadata == {"decline_code": "authorization_expired"}
    payment = shop.get(payment_id)
    assert (payment.state, payment.decline_code) == (pb.Payment.VOIDED, "authorization_expired")
    assert shop.told(payment_id) == ["Authorized", "Voided"]
    assert shop.booked(payment_id) == {}
    assert shop.void(payment_id).state == pb.Payment.VOIDED


def test_an_authorization_that_ended_is_voided_when_that_is_told(shop: Shop) -> None:
    payment, alarms = shop.authorize(), ALARMS.value(Alarm.AUTHORIZATION_EXPIRED)
    _expired(shop, payment.id)
    assert shop.tell(shop.events(payment.id)[-1]) == "RECORDED"
    assert shop.get(payment.id).state == pb.Payment.VOIDED
    assert ALARMS.value(Alarm.AUTHORIZATION_EXPIRED) == alarms + 1
    _gone(shop, payment.id)


def test_an_authorization_that_ended_unheard_of_is_voided_by_the_capture_that_comes_too_late(shop: Shop) -> None:
    payment = shop.authorize()
    _expired(shop, payment.id)
    _gone(shop, payment.id)
    assert shop.tell(shop.events(payment.id)[-1]) == "KNOWN"


# Through the door


@pytest.fixture
def door(shop: Shop) -> Iterator[Running]:
    gateway = Running({"MERCATO_KEYS": str(shop.served.keys), "MERCATO_TARGET_PAYMENT": f"ipv4:{shop.served.address}"})
    yield gateway
    gateway.close()


def test_a_webhook_goes_through_the_gateway_byte_by_byte(shop: Shop, door: Running) -> None:
    event = shop.events(shop.authorize().id)[0]
    spaced = Event("", event.body.replace(b'":', b'" :') + b"\n", late=False)
    for body in (event, spaced):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        headers["Stripe-Signature"] = body.signature(WEBHOOK_SECRET, _now())
        for _ in range(2):
            taken = door.client.post("/webhooks/stripe", content=body.body, headers=headers)
            assert (taken.status_code, taken.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "reason"),
    [
        ("/webhooks/stripe", {}, b"{}", 401, "BAD_SIGNATURE"),
        ("/webhooks/stripe", {"Stripe-Signature": "t=1,v1=ab"}, b"{}", 401, "BAD_SIGNATURE"),
        ("/webhooks/stripe", {"Stripe-Signature": "x" * 2000}, b"{}", 401, "BAD_SIGNATURE"),
        ("/webhooks/stripe", {}, b"", 401, "BAD_SIGNATURE"),
        ("/webhooks/paypal", {}, b"{}", 404, "NOT_FOUND"),
        (f"/webhooks/{'x' * 100}", {}, b"{}", 404, "ROUTE_NOT_FOUND"),
        ("/webhooks/stripe", {}, b"x" * 65_537, 413, "MESSAGE_TOO_LARGE"),
        ("/webhooks/stripe", {"Content-Type": "text/plain"}, b"{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("/webhooks", {}, b"{}", 404, "ROUTE_NOT_FOUND"),
    ],
)
def test_b49_what_is_no_webhook_is_refused_at_the_door(
    door: Running, path: str, headers: dict[str, str], body: bytes, status: int, reason: str
) -> None:
    given = {"Content-Type": "application/json", **headers}
    refused = door.client.post(path, content=body, headers=given)
    assert (refused.status_code, refused.json()["reason"]) == (status, reason)


def test_b49_an_old_webhook_is_refused_and_a_new_one_without_news_is_not(shop: Shop, door: Running) -> None:
    event = shop.events(shop.authorize().id)[0]

    def send(second: int) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Stripe-Signature": event.signature(WEBHOOK_SECRET, second)}
        return door.client.post("/webhooks/stripe", content=event.body, headers=headers)

    assert send(_now() - 301).json()["reason"] == "BAD_SIGNATURE"
    assert [send(_now()).status_code for _ in range(5)] == [200] * 5


def test_f7_the_provider_tells_five_times_out_of_order_and_the_shop_hears_once(
    shop: Shop, door: Running, provider: ProviderProcess
) -> None:
    provider.end()
    url = f"http://127.0.0.1:{door.port}/webhooks/stripe"
    provider.set(WEBHOOK_URL=url, WEBHOOK_SECRET=WEBHOOK_SECRET, FAULTS="duplicate=1,shuffle=1")
    provider.start()
    payments = [shop.authorize().id for _ in range(3)]
    for payment_id in payments:
        _refunded_in_part(shop, payment_id)
    _eventually(lambda: all(shop.stands(each) == ("CAPTURED", 2500, 500) for each in payments))
    for payment_id in payments:
        assert shop.booked(payment_id) == {"provider_balance": 2000, "sales": -2500, "refunds": 500}
        assert shop.told(payment_id).count("Captured") == 1


def _eventually(law: Callable[[], bool], within: timedelta = timedelta(seconds=60)) -> None:
    """That it comes true; looked at again and again, for nobody tells the test when."""
    pause, end = threading.Event(), datetime.now(UTC) + within
    while not law():
        assert datetime.now(UTC) < end, "it never came true"
        pause.wait(0.02)
