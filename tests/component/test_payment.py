"""The payment service as its callers see it: over gRPC, on PostgreSQL, with the provider as a process beside it."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from mercato.api.payment.v1 import payment_events_pb2 as events
from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.config import Settings, load
from mercato.errors import (
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    MercatoError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mercato.group_commit import Turn
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.stack import Stack
from mercato.testing import a_customer, all_at_once, at_once, staff
from mercato.wire import money_from_pb, money_to_pb
from services.payment.app import build
from services.payment.config import PaymentConfig
from services.payment.domain import (
    CASH,
    Alarm,
    CaptureExceedsAuthorization,
    CaptureFailed,
    CurrencyMismatch,
    Kind,
    NotCash,
    OnlyCash,
    Payment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentVoided,
    RefundExceedsCapture,
    State,
    UnknownPaymentMethod,
)
from services.payment.resolution import ALARMS
from tests.component.payment_shop import (
    ANNA,
    AT_ONCE,
    BOB,
    UNKNOWN,
    VISA,
    Shop,
    attempt_of,
    behind_our_back,
    eur,
    opened,
    work_of,
)
from tests.component.provider_process import KEY, ProviderProcess, provider_running
from tests.servers import FreshDatabase


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider"), SLOW="500ms", HANG="10s") as provider:
        yield provider


@pytest.fixture(scope="module")
def shop(payment_database: Database, provider: ProviderProcess) -> Iterator[Shop]:
    with opened(payment_database, provider) as shop:
        yield shop


# Authorizing


def test_an_authorization_reserves_the_amount_and_shows_the_card_masked(shop: Shop) -> None:
    payment = shop.authorize(cents=2599)
    assert (payment.state, payment.method) == (pb.Payment.AUTHORIZED, "visa •••• 4242")
    assert money_from_pb(payment.authorized) == Money(2599, "EUR")
    assert money_from_pb(payment.captured) == Money(0, "EUR")
    assert shop.told(payment.id) == ["Authorized"]
    assert shop.booked(payment.id) == {"provider_hold": 2599, "promised": -2599}
    assert shop.provider.done_for(payment.id) == ["payment_intents"]


def test_authorizing_again_answers_with_the_same_payment(shop: Shop) -> None:
    payment = shop.authorize()
    assert shop.authorize(payment_id=payment.id, cents=9999) == payment
    assert shop.provider.done_for(payment.id) == ["payment_intents"]


def test_twenty_at_once_authorize_once(shop: Shop) -> None:
    payment_id = str(uuid7())
    outcomes = at_once(partial(shop.authorize, payment_id=payment_id), 20)
    assert {
        outcome.SerializeToString(deterministic=True) for outcome in outcomes if isinstance(outcome, pb.Payment)
    } == {shop.get(payment_id).SerializeToString(deterministic=True)}
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert shop.provider.done_for(payment_id) == ["payment_intents"]
    assert shop.told(payment_id) == ["Authorized"]


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_decline_is_told_with_its_code_and_remembered(shop: Shop, card: str, code: str) -> None:
    payment_id = str(uuid7())
    for _ in range(2):
        with pytest.raises(PaymentDeclined) as declined:
            shop.authorize(card, payment_id=payment_id)
        assert declined.value.metadata == {"decline_code": code}
    assert shop.provider.done_for(payment_id) == ["payment_intents!"]
    assert (shop.get(payment_id).state, shop.get(payment_id).decline_code) == (pb.Payment.DECLINED, code)
    assert shop.told(payment_id) == ["Declined"]
    assert shop.booked(payment_id) == {}


def test_a_means_of_payment_that_the_provider_does_not_know_is_refused(shop: Shop) -> None:
    with pytest.raises(UnknownPaymentMethod):
        shop.authorize("pm_never_heard_of")


def test_an_amount_that_is_none_is_refused(shop: Shop) -> None:
    for cents in (0, -1):
        with pytest.raises(InvalidArgument):
            shop.authorize(cents=cents)


@pytest.mark.parametrize("card", ["pm_timeout_then_success", "pm_flaky", "pm_slow"])
def test_silence_is_asked_again_until_it_is_a_yes(shop: Shop, card: str) -> None:
    payment = shop.authorize(card)
    assert payment.state == pb.Payment.AUTHORIZED
    assert shop.provider.done_for(payment.id) == ["payment_intents"]


def test_silence_is_asked_again_until_it_is_a_no(shop: Shop) -> None:
    with pytest.raises(PaymentDeclined):
        shop.authorize("pm_timeout_then_decline")


def test_two_at_once_with_a_slow_card_authorize_once(shop: Shop) -> None:
    payment_id = str(uuid7())
    first, second = at_once(partial(shop.authorize, "pm_slow", payment_id=payment_id), 2)
    assert first == second == shop.get(payment_id)
    assert shop.provider.done_for(payment_id) == ["payment_intents"]


def test_unknown_is_never_no(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    assert shop.get(payment_id).state == pb.Payment.PENDING
    assert shop.authorize(payment_id=payment_id).state == pb.Payment.AUTHORIZED
    assert shop.provider.done_for(payment_id) == ["payment_intents"]


def test_what_a_provider_that_was_gone_did_not_hear_is_done_by_the_worker(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.gone():
        with pytest.raises(UNKNOWN):
            shop.authorize(payment_id=payment_id, within=0.7)
        assert shop.resolution.resolve_due()
        assert shop.get(payment_id).state == pb.Payment.PENDING
    shop.resolve_all()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert shop.told(payment_id) == ["Authorized"]


def test_a_process_that_died_between_the_answer_and_its_record_charges_nobody_twice(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    # The provider does it now, and nobody is there to hear it.
    shop.resolve_all()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert shop.provider.done_for(payment_id) == ["payment_intents"]


def test_a_worker_that_slept_through_its_lease_postpones_nothing(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    with work_of(shop) as work:
        stale = work.attempts.claim(AT_ONCE)
    with work_of(shop) as work:
        fresh = work.attempts.claim(AT_ONCE)
    assert stale
    assert fresh
    assert stale.id == fresh.id
    with work_of(shop) as work:
        assert not work.attempts.postpone(stale, timedelta(hours=1))
    shop.resolve_all()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED


def test_the_process_resolves_what_was_not_answered(shop: Shop, fresh_database: FreshDatabase, tmp_path: Path) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    url = fresh_database.url_of("payments")
    settings = {"MERCATO_NAME": "payment", "MERCATO_DATABASE_URL": url, "MERCATO_KEYS": str(tmp_path)}
    own = {"MERCATO_PAYMENT_PROVIDER_URL": shop.provider.url, "MERCATO_PAYMENT_PROVIDER_KEY": KEY}
    stack = Stack(load(Settings, settings))
    process = build(load(PaymentConfig, own), stack)
    try:
        for worker in process.workers:
            worker.run_once(stack.clock.now())
    finally:
        stack.close()
        for close in process.closers:
            close()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED


def test_what_is_older_than_the_provider_s_memory_is_looked_up_before_it_is_asked(shop: Shop) -> None:
    arrived, lost = str(uuid7()), str(uuid7())
    with shop.provider.gone():
        for payment_id in (arrived, lost):
            with pytest.raises(UNKNOWN):
                shop.authorize(payment_id=payment_id, within=0.7)
    shop.stripe.ask(*_open(shop, arrived))
    with shop.database.transaction() as connection:
        connection.execute(
            "update attempt set create_time = create_time - interval '1 day' where payment_id = any(%s::uuid[])",
            [[arrived, lost]],
        )
    shop.resolve_all()
    assert shop.get(arrived).state == pb.Payment.AUTHORIZED
    assert (shop.get(lost).state, shop.get(lost).decline_code) == (pb.Payment.DECLINED, "never_arrived")
    assert shop.provider.done_for(lost) == []


# Voiding


def test_a_void_gives_the_authorization_back(shop: Shop) -> None:
    payment = shop.authorize()
    voided = shop.void(payment.id)
    assert voided.state == pb.Payment.VOIDED
    assert shop.void(payment.id) == voided
    assert shop.provider.done_for(payment.id) == ["payment_intents", "cancel"]
    assert shop.told(payment.id) == ["Authorized", "Voided"]
    assert shop.booked(payment.id) == {}
    with pytest.raises(PaymentVoided):
        shop.authorize(payment_id=payment.id)
    with pytest.raises(PaymentVoided):
        shop.capture(payment.id, 100)


def test_a_void_that_comes_first_leaves_a_tombstone(shop: Shop) -> None:
    payment_id = str(uuid7())
    assert [shop.void(payment_id).state for _ in range(2)] == [pb.Payment.VOIDED] * 2
    with pytest.raises(PaymentVoided):
        shop.authorize(payment_id=payment_id)
    assert shop.provider.done_for(payment_id) == []
    assert shop.told(payment_id) == []


def test_a_decline_need_not_be_voided(shop: Shop) -> None:
    payment_id = str(uuid7())
    with pytest.raises(PaymentDeclined):
        shop.authorize("pm_card_visa_chargeDeclined", payment_id=payment_id)
    assert shop.void(payment_id).state == pb.Payment.DECLINED


def test_what_is_captured_is_not_voided(shop: Shop) -> None:
    payment = shop.captured()
    with pytest.raises(PaymentCaptured):
        shop.void(payment.id)


def test_a_success_found_after_the_void_is_cancelled_and_alarmed(shop: Shop) -> None:
    payment_id, alarms = str(uuid7()), ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID)
    with shop.provider.frozen():
        with pytest.raises(UNKNOWN):
            shop.authorize(payment_id=payment_id, within=0.7)
        assert shop.void(payment_id).state == pb.Payment.VOIDED
    shop.resolve_all()
    assert ALARMS.value(Alarm.AUTHORIZED_AFTER_VOID) == alarms + 1
    assert shop.provider.done_for(payment_id) == ["payment_intents", "cancel"]
    assert shop.get(payment_id).state == pb.Payment.VOIDED
    assert shop.told(payment_id) == ["Voided"]
    assert shop.booked(payment_id) == {}


def test_a_void_stands_though_the_provider_does_not_listen(shop: Shop) -> None:
    payment = shop.authorize()
    with shop.provider.gone():
        assert shop.void(payment.id).state == pb.Payment.VOIDED
    assert shop.provider.done_for(payment.id) == ["payment_intents"]
    shop.resolve_all()
    assert shop.provider.done_for(payment.id) == ["payment_intents", "cancel"]


def test_what_the_provider_took_of_a_voided_payment_is_given_back_and_alarmed(shop: Shop) -> None:
    payment, alarms = shop.authorize(), ALARMS.value(Alarm.CAPTURED_THOUGH_VOIDED)
    behind_our_back(shop, payment.id, Kind.CAPTURE)
    assert shop.void(payment.id).state == pb.Payment.VOIDED
    assert ALARMS.value(Alarm.CAPTURED_THOUGH_VOIDED) == alarms + 1
    assert shop.provider.done_for(payment.id)[-2:] == ["cancel!", "refunds"]


def test_a_void_and_an_authorization_at_once_leave_nothing_reserved(shop: Shop) -> None:
    for _ in range(5):
        payment_id = str(uuid7())
        all_at_once([partial(shop.authorize, payment_id=payment_id), partial(shop.void, payment_id)])
        shop.resolve_all()
        assert shop.get(payment_id).state == pb.Payment.VOIDED
        assert shop.provider.done_for(payment_id) in ([], ["payment_intents", "cancel"])


# Capturing


def test_a_capture_may_take_less_and_gives_the_rest_back(shop: Shop) -> None:
    payment = shop.authorize(cents=2500)
    captured = shop.capture(payment.id, 2000)
    assert (captured.state, money_from_pb(captured.captured)) == (pb.Payment.CAPTURED, Money(2000, "EUR"))
    assert shop.booked(payment.id) == {"provider_balance": 2000, "sales": -2000}
    assert shop.told(payment.id) == ["Authorized", "Captured"]


def test_the_first_capture_wins_whatever_the_repeat_asks_for(shop: Shop) -> None:
    payment = shop.authorize(cents=2500)
    first = shop.capture(payment.id, 2000)
    assert shop.capture(payment.id, 2000) == shop.capture(payment.id, 2500) == first
    assert shop.provider.done_for(payment.id) == ["payment_intents", "capture"]


def test_captures_at_once_take_once(shop: Shop) -> None:
    payment = shop.authorize(cents=2500)
    outcomes = all_at_once([partial(shop.capture, payment.id, cents) for cents in (2000, 2100, 2200, 2300)])
    assert len({each.captured.units for each in outcomes if isinstance(each, pb.Payment)}) == 1
    assert shop.provider.done_for(payment.id) == ["payment_intents", "capture"]
    assert shop.told(payment.id) == ["Authorized", "Captured"]


def test_more_than_was_authorized_is_not_taken(shop: Shop) -> None:
    payment = shop.authorize(cents=2500)
    with pytest.raises(CaptureExceedsAuthorization):
        shop.capture(payment.id, 2501)
    with pytest.raises(CurrencyMismatch):
        shop.capture(payment.id, 1, "USD")
    with pytest.raises(InvalidArgument):
        shop.capture(payment.id, -1)
    with pytest.raises(NotFound):
        shop.capture(str(uuid7()), 1)


def test_a_capture_of_nothing_gives_the_authorization_back(shop: Shop) -> None:
    payment = shop.authorize()
    assert [shop.capture(payment.id, 0).state for _ in range(2)] == [pb.Payment.VOIDED] * 2
    with pytest.raises(NotFound):
        shop.capture(str(uuid7()), 0)


def test_a_refused_capture_may_be_tried_again_as_another_decision(shop: Shop) -> None:
    payment = shop.authorize("pm_capture_fails")
    for _ in range(2):
        with pytest.raises(CaptureFailed) as refused:
            shop.capture(payment.id, 2500)
        assert refused.value.metadata == {"decline_code": "generic_decline"}
    assert shop.get(payment.id).state == pb.Payment.AUTHORIZED
    captures = [line["key"] for line in shop.provider.log() if payment.id in line["key"] and "capture" in line["key"]]
    assert len(set(captures)) == len(captures) == 2
    assert shop.void(payment.id).state == pb.Payment.VOIDED


def test_a_capture_whose_reply_was_lost_is_not_taken_for_a_no(shop: Shop) -> None:
    payment = shop.authorize()
    behind_our_back(shop, payment.id, Kind.CAPTURE)
    assert shop.capture(payment.id, 2500).state == pb.Payment.CAPTURED


def test_an_unanswered_capture_is_settled_before_a_void_is_decided(shop: Shop) -> None:
    payment = shop.authorize()
    with shop.provider.frozen():
        with pytest.raises(UNKNOWN):
            shop.capture(payment.id, 2500, within=0.7)
        with pytest.raises(UNKNOWN):
            shop.order.VoidPayment(pb.VoidPaymentRequest(payment_id=payment.id), timeout=0.7)
    with pytest.raises(PaymentCaptured):
        shop.void(payment.id)
    assert shop.provider.done_for(payment.id) == ["payment_intents", "capture"]


def test_a_capture_waits_for_the_authorization_to_be_known(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    assert shop.capture(payment_id, 2000).state == pb.Payment.CAPTURED


# Cash


def test_cash_is_owed_at_the_door_and_settled_by_the_courier_s_report(shop: Shop) -> None:
    payment = shop.authorize(CASH, 2500)
    assert (payment.state, payment.method) == (pb.Payment.AUTHORIZED, CASH)
    assert shop.authorize(CASH, payment_id=payment.id) == payment
    assert shop.booked(payment.id) == {"customer_receivable": 2500, "promised": -2500}
    with pytest.raises(CaptureExceedsAuthorization):
        shop.settle(payment.id, 2501)
    settled = shop.settle(payment.id, 2400)
    assert (settled.state, shop.settle(payment.id, 2400)) == (pb.Payment.CAPTURED, settled)
    assert shop.booked(payment.id) == {"cash_with_couriers": 2400, "sales": -2400}
    assert shop.told(payment.id) == ["Authorized", "Captured"]
    assert shop.provider.done_for(payment.id) == []


def test_payments_that_are_asked_for_in_company_are_each_told_their_own(shop: Shop) -> None:
    asked = [
        Payment.asked(uuid7(), uuid7(), UUID(ANNA.subject), Money(2500, "EUR"), method) for method in (CASH, VISA, CASH)
    ]
    turns = [Turn.of(each) for each in asked]
    first = shop.payments.authorize_together(turns)
    assert [(each.id, each.state) for each in first if isinstance(each, Payment)] == [
        (each.id, State.AUTHORIZED) for each in asked
    ]
    shop.void(str(asked[2].id))
    *same, given_up = shop.payments.authorize_together(turns)
    assert (same, type(given_up)) == (first[:2], PaymentVoided)
    assert [shop.told(str(each.id)) for each in asked] == [["Authorized"], ["Authorized"], ["Authorized", "Voided"]]
    assert [len(shop.provider.done_for(str(each.id))) for each in asked] == [0, 1, 0]


def test_cash_is_voided_and_refunded_without_the_provider(shop: Shop) -> None:
    given_up, paid = shop.authorize(CASH, 1000), shop.authorize(CASH, 1000)
    assert shop.void(given_up.id).state == pb.Payment.VOIDED
    assert shop.booked(given_up.id) == {}
    shop.settle(paid.id, 1000)
    assert shop.refund(paid.id, 400).state == pb.Payment.CAPTURED
    assert shop.booked(paid.id) == {"cash_with_couriers": 1000, "sales": -1000, "refunds": 400, "refunds_payable": -400}
    assert shop.told(paid.id) == ["Authorized", "Captured", "Refunded"]


def test_cards_are_captured_and_cash_is_settled(shop: Shop) -> None:
    card, cash = shop.authorize(), shop.authorize(CASH)
    with pytest.raises(NotCash):
        shop.settle(card.id, 100)
    with pytest.raises(OnlyCash):
        shop.capture(cash.id, 100)
    with pytest.raises(NotFound):
        shop.settle(str(uuid7()), 100)


# Refunding


def test_refunds_go_back_in_parts_until_nothing_is_left(shop: Shop) -> None:
    payment = shop.captured(1000)
    part = shop.refund(payment.id, 300)
    assert (part.state, money_from_pb(part.refunded)) == (pb.Payment.CAPTURED, Money(300, "EUR"))
    with pytest.raises(RefundExceedsCapture):
        shop.refund(payment.id, 701)
    whole = shop.refund(payment.id, 700)
    assert (whole.state, money_from_pb(whole.refunded)) == (pb.Payment.REFUNDED, Money(1000, "EUR"))
    with pytest.raises(RefundExceedsCapture):
        shop.refund(payment.id, 1)
    assert shop.told(payment.id) == ["Authorized", "Captured", "Refunded", "Refunded"]
    assert shop.booked(payment.id) == {"sales": -1000, "refunds": 1000}


def test_events_name_the_order_and_the_amounts_each_with_its_own_version(shop: Shop) -> None:
    payment = shop.captured(1000)
    shop.refund(payment.id, 300)
    shop.refund(payment.id, 200)
    with shop.database.reading() as connection:
        rows = connection.execute(
            "select version, payload from outbox where aggregate_id = %s order by version", [payment.id]
        ).fetchall()
    last = events.PaymentRefunded.FromString(rows[-1][1])
    assert (last.payment_id, last.order_id) == (payment.id, payment.order_id)
    assert (money_from_pb(last.amount), money_from_pb(last.refunded_total)) == (Money(200, "EUR"), Money(500, "EUR"))
    assert [version for version, _ in rows] == [2, 3, 4, 5]
    assert shop.get(payment.id).etag == "5"


def test_a_repeated_refund_gives_back_once(shop: Shop) -> None:
    payment, key = shop.captured(1000), str(uuid7())
    outcomes = at_once(partial(shop.refund, payment.id, 300, key), 8)
    assert {money_from_pb(each.refunded).amount for each in outcomes if isinstance(each, pb.Payment)} == {300}
    assert money_from_pb(shop.refund(payment.id, 300, key).refunded) == Money(300, "EUR")
    with pytest.raises(IdempotencyKeyReused):
        shop.refund(payment.id, 301, key)


def test_refunds_at_once_never_exceed_what_was_taken(shop: Shop) -> None:
    payment = shop.captured(1000)
    outcomes = at_once(partial(shop.refund, payment.id, 300), 8)
    assert sorted(type(each).__name__ for each in outcomes) == ["Payment"] * 3 + ["RefundExceedsCapture"] * 5
    assert money_from_pb(shop.get(payment.id).refunded) == Money(900, "EUR")


def test_a_refund_that_was_not_answered_is_promised_and_done_by_the_worker(shop: Shop) -> None:
    payment, key = shop.captured(1000), str(uuid7())
    with shop.provider.frozen():
        with pytest.raises(UNKNOWN):
            shop.refund(payment.id, 800, key, within=0.7)
        with pytest.raises(RefundExceedsCapture):
            shop.refund(payment.id, 201)
    assert money_from_pb(shop.get(payment.id).refunded) == Money(0, "EUR")
    shop.resolve_all()
    assert money_from_pb(shop.refund(payment.id, 800, key).refunded) == Money(800, "EUR")
    assert money_from_pb(shop.get(payment.id).refunded) == Money(800, "EUR")


def test_only_what_was_taken_is_refunded_in_its_currency(shop: Shop) -> None:
    held, taken = shop.authorize(), shop.captured(1000)
    with pytest.raises(RefundExceedsCapture):
        shop.refund(held.id, 1)
    request = pb.RefundPaymentRequest(id=taken.id, amount=money_to_pb(Money(1, "USD")), reason="r", request_id="k1")
    with pytest.raises(CurrencyMismatch):
        shop.finance.RefundPayment(request)
    for cents in (0, -5):
        with pytest.raises(InvalidArgument):
            shop.refund(taken.id, cents)
    with pytest.raises(NotFound):
        shop.refund(str(uuid7()), 1)


def test_the_order_service_refunds_by_its_own_key(shop: Shop) -> None:
    payment = shop.captured(1000)
    request = pb.RefundPaymentRequest(id=payment.id, amount=eur(1000), reason="cancelled", request_id=str(uuid7()))
    assert [shop.order.RefundPayment(request).state for _ in range(2)] == [pb.Payment.REFUNDED] * 2


# Who sees what


def test_a_customer_sees_their_own_payments_and_no_other(shop: Shop) -> None:
    mine, other = shop.authorize(customer=ANNA), shop.authorize(customer=BOB)
    anna = shop.as_user(ANNA)
    assert anna.GetPayment(pb.GetPaymentRequest(id=mine.id)) == mine
    with pytest.raises(NotFound) as foreign:
        anna.GetPayment(pb.GetPaymentRequest(id=other.id))
    with pytest.raises(NotFound) as missing:
        anna.GetPayment(pb.GetPaymentRequest(id=str(uuid7())))
    assert (foreign.value.message, foreign.value.metadata) == (missing.value.message, missing.value.metadata)
    listed = anna.ListPayments(pb.ListPaymentsRequest(page_size=200)).payments
    assert {each.customer_id for each in listed} == {ANNA.subject}
    assert not anna.ListPayments(pb.ListPaymentsRequest(order_id=other.order_id)).payments


@pytest.mark.parametrize("role", ["support", "finance", "admin"])
def test_staff_see_all_payments_and_no_token(shop: Shop, role: str) -> None:
    payment = shop.authorize()
    seen = shop.as_user(staff(role)).GetPayment(pb.GetPaymentRequest(id=payment.id))
    assert seen == payment
    assert VISA not in str(seen)


def test_payments_are_listed_in_pages_the_newest_first(shop: Shop) -> None:
    carla = a_customer(str(uuid7()))
    made = [shop.authorize(CASH, customer=carla).id for _ in range(3)]
    client = shop.as_user(carla)
    first = client.ListPayments(pb.ListPaymentsRequest(page_size=2))
    second = client.ListPayments(pb.ListPaymentsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.id for each in (*first.payments, *second.payments)] == made[::-1]
    assert not second.next_page_token
    with pytest.raises(InvalidPageToken):
        shop.as_user(BOB).ListPayments(pb.ListPaymentsRequest(page_size=2, page_token=first.next_page_token))
    voided = client.ListPayments(pb.ListPaymentsRequest(state=pb.Payment.VOIDED))
    assert not voided.payments


@pytest.mark.parametrize(
    ("who", "refusal"),
    [
        (Principal(), Unauthenticated),
        (ANNA, PermissionDenied),
        (staff("support"), PermissionDenied),
        (staff("admin"), PermissionDenied),
    ],
)
def test_only_finance_moves_money_and_reads_the_books(shop: Shop, who: Principal, refusal: type[MercatoError]) -> None:
    client = shop.as_user(who)
    for call in (
        partial(
            client.RefundPayment, pb.RefundPaymentRequest(id=str(uuid7()), amount=eur(1), reason="r", request_id="k")
        ),
        partial(client.ListAccounts, pb.ListAccountsRequest()),
        partial(client.ListEntries, pb.ListEntriesRequest()),
        partial(client.ReconcilePayments, pb.ReconcilePaymentsRequest(date="2026-01-01")),
    ):
        with pytest.raises(refusal):
            call()


def test_no_user_reserves_takes_or_voids(shop: Shop) -> None:
    payment = shop.authorize()
    for who in (ANNA, staff("finance"), staff("admin")):
        with pytest.raises(PermissionDenied):
            shop.as_user(who).VoidPayment(pb.VoidPaymentRequest(payment_id=payment.id))


# The books


def test_the_books_balance_over_all(shop: Shop) -> None:
    shop.refund(shop.captured(1000).id, 300)
    accounts = shop.finance.ListAccounts(pb.ListAccountsRequest()).accounts
    assert {"provider_balance", "sales", "refunds", "promised"} <= {each.id for each in accounts}
    debits = sum(money_from_pb(each.debits).amount for each in accounts)
    assert debits == sum(money_from_pb(each.credits).amount for each in accounts) > 0
    few = shop.finance.ListAccounts(pb.ListAccountsRequest(page_size=1))
    rest = shop.finance.ListAccounts(pb.ListAccountsRequest(page_token=few.next_page_token, page_size=200))
    assert [*few.accounts, *rest.accounts] == list(accounts)


def test_entries_are_listed_in_pages(shop: Shop) -> None:
    payment = shop.captured(1000)
    query = partial(pb.ListEntriesRequest, payment_id=payment.id, page_size=4)
    first = shop.finance.ListEntries(query())
    second = shop.finance.ListEntries(query(page_token=first.next_page_token))
    assert len({each.id for each in (*first.entries, *second.entries)}) == 6
    sales = shop.finance.ListEntries(pb.ListEntriesRequest(account="sales", payment_id=payment.id)).entries
    assert [(each.side, money_from_pb(each.amount)) for each in sales] == [(pb.LedgerEntry.CREDIT, Money(1000, "EUR"))]


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger_entry set amount = amount + 1",
        "delete from ledger_entry",
        "truncate ledger_entry",
        """insert into ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
           select gen_random_uuid(), transaction_id, payment_id, account, side, amount, currency
           from ledger_entry limit 1""",
        "update payment set refunding = captured + 1 where captured > 0",
        "update payment set captured = authorized + 1 where state = 'CAPTURED'",
    ],
)
def test_the_database_refuses_to_make_the_books_wrong(shop: Shop, statement: Any) -> None:
    shop.captured(1000)
    with pytest.raises((CheckViolation, InsufficientPrivilege)), shop.database.transaction() as connection:
        connection.execute(statement)


LONE: LiteralString = """
    insert into ledger_entry (id, transaction_id, payment_id, account, side, amount, currency)
    values (gen_random_uuid(), %s, %s, 'sales', %s, %s, %s)"""


@pytest.mark.parametrize("others", [[], [("CREDIT", 99, "EUR")], [("CREDIT", 100, "USD")], [("DEBIT", 100, "EUR")]])
def test_a_transaction_that_does_not_balance_fails_when_it_commits(shop: Shop, others: list[Any]) -> None:
    payment_id, transaction_id = shop.captured(1000).id, uuid7()
    before = shop.booked(payment_id)
    entered = 0
    with pytest.raises(CheckViolation, match="does not balance"), shop.database.transaction() as connection:  # noqa: PT012
        # As the service's own role: neither it nor anybody who has become it can book one side alone.
        row = connection.execute("select current_user").fetchone()
        assert row == ("mercato_payments",)
        for side, amount, currency in [("DEBIT", 100, "EUR"), *others]:
            connection.execute(LONE, [transaction_id, payment_id, side, amount, currency])
            entered += 1
    assert entered == 1 + len(others), "the entries themselves are taken; it is the commit that fails"
    assert shop.booked(payment_id) == before


def test_the_service_cannot_switch_the_books_rules_off(shop: Shop) -> None:
    for statement in (
        "alter table ledger_entry disable trigger all",
        "set session_replication_role = replica",
        "drop trigger ledger_balanced on ledger_entry",
    ):
        with pytest.raises(InsufficientPrivilege), shop.database.transaction() as connection:
            connection.execute(statement.encode())


# Reconciling


def test_a_day_on_which_all_agree_has_no_differences(shop: Shop) -> None:
    shop.resolve_all()
    made = [shop.authorize(), shop.captured(), shop.authorize(CASH)]
    shop.void(made[0].id)
    reply = shop.reconciled()
    assert not [each for each in reply.differences if each.payment_id in {payment.id for payment in made}]
    assert reply.compared >= 2


def test_every_difference_from_the_provider_s_list_is_named(shop: Shop) -> None:
    taken, unheard = shop.authorize(), str(uuid7())
    behind_our_back(shop, taken.id, Kind.CAPTURE)
    stranger = shop.stripe.ask(*_stranger())
    with shop.provider.gone(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=unheard, within=0.7)
    found = {(each.payment_id, each.kind): each for each in shop.reconciled().differences}
    assert found[taken.id, pb.Difference.STATE_DIFFERS].theirs == "succeeded"
    assert found[taken.id, pb.Difference.AMOUNT_DIFFERS].theirs == "25.00 EUR"
    assert found[unheard, pb.Difference.MISSING_AT_PROVIDER].ours == "PENDING"
    unknown = [each for each in found.values() if each.kind == pb.Difference.UNKNOWN_TO_SHOP]
    assert stranger.reference in {each.provider_reference for each in unknown}
    shop.resolve_all()


def test_a_day_that_is_none_is_refused(shop: Shop) -> None:
    for date in ("2026-02-30", "yesterday", "", "9999-12-31"):
        with pytest.raises(InvalidArgument):
            shop.finance.ReconcilePayments(pb.ReconcilePaymentsRequest(date=date))


# How


def _open(shop: Shop, payment_id: str) -> Any:
    with work_of(shop) as work:
        return work.payments.lock(UUID(payment_id)), work.attempts.pending(UUID(payment_id))


def _stranger() -> Any:
    """A payment that the provider hears of and the shop never did."""
    payment = Payment.asked(uuid7(), uuid7(), uuid7(), Money(700, "EUR"), VISA)
    return payment, attempt_of(payment)
