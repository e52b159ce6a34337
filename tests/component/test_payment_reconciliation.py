"""Reconciling with the provider: every kind of difference is named, repaired where that is safe, and kept."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.clock import SystemClock
from mercato.ids import uuid7
from mercato.money import Money
from mercato.postgres import Database
from mercato.testing import FixedClock, at_once
from services.payment.domain import CASH, Alarm, Attempt, Kind, Payment
from services.payment.repair import YOUNG, Passes
from services.payment.resolution import ALARMS
from tests.component.payment_shop import UNKNOWN, VISA, Shop, attempt_of, behind_our_back, opened, work_of
from tests.component.provider_process import ProviderProcess, provider_running

Found = list[tuple[str, str]]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider"), HANG="10s") as provider:
        yield provider


@pytest.fixture(scope="module")
def shop(payment_database: Database, provider: ProviderProcess) -> Iterator[Shop]:
    with opened(payment_database, provider) as shop:
        yield shop


def _found(shop: Shop, name: str) -> Found:
    """How a payment differs, and what was done about it."""
    return [
        (pb.Difference.Kind.Name(each.kind), pb.Difference.Repair.Name(each.repair))
        for each in shop.reconciled().differences
        if name in (each.payment_id, each.provider_reference)
    ]


def _kept(shop: Shop, name: str) -> Found:
    with shop.database.reading() as connection:
        statement = "select kind, repair from difference where %s in (payment_id, reference) order by kind"
        return list(connection.execute(statement, [name]).fetchall())


def _unheard(shop: Shop) -> str:
    """A payment that the provider authorizes, and whose answer nobody hears."""
    payment_id = str(uuid7())
    with shop.provider.frozen(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    return payment_id


def test_what_agrees_is_no_difference(shop: Shop) -> None:
    payments = [shop.authorize(), shop.captured(), shop.authorize(CASH), shop.captured(1000)]
    shop.void(payments[0].id)
    shop.refund(payments[3].id, 400)
    known = {payment.id for payment in payments}
    assert not [each for each in shop.reconciled().differences if each.payment_id in known]


def test_what_was_not_answered_is_completed(shop: Shop) -> None:
    payment_id = _unheard(shop)
    assert _found(shop, payment_id) == [("STATE_DIFFERS", "COMPLETED")]
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert shop.told(payment_id) == ["Authorized"]
    assert not _found(shop, payment_id)
    assert _kept(shop, payment_id) == [("STATE_DIFFERS", "COMPLETED")]


def test_what_the_provider_never_heard_of_is_asked_for(shop: Shop) -> None:
    payment_id = str(uuid7())
    with shop.provider.gone(), pytest.raises(UNKNOWN):
        shop.authorize(payment_id=payment_id, within=0.7)
    assert _found(shop, payment_id) == [("MISSING_AT_PROVIDER", "COMPLETED")]
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED
    assert not _found(shop, payment_id)


def test_what_somebody_is_asking_just_now_is_left_to_them(shop: Shop) -> None:
    payment_id = _unheard(shop)
    shop.execute("update attempt set due_time = now() + interval '1 hour' where payment_id = %s", payment_id)
    assert _found(shop, payment_id) == [("STATE_DIFFERS", "UNDER_WAY")]
    shop.execute("update attempt set due_time = now() where payment_id = %s", payment_id)
    assert _found(shop, payment_id) == [("STATE_DIFFERS", "COMPLETED")]
    assert _kept(shop, payment_id) == [("STATE_DIFFERS", "COMPLETED")]


def test_what_was_captured_and_refunded_elsewhere_is_recorded_and_booked(shop: Shop) -> None:
    payment = shop.authorize()
    behind_our_back(shop, payment.id, Kind.CAPTURE)
    behind_our_back(shop, payment.id, Kind.REFUND, 300)
    assert ("STATE_DIFFERS", "RECORDED") in _found(shop, payment.id)
    assert shop.stands(payment.id) == ("CAPTURED", 2500, 300)
    assert shop.booked(payment.id) == {"provider_balance": 2200, "sales": -2500, "refunds": 300}
    assert shop.told(payment.id) == ["Authorized", "Captured", "Refunded"]
    assert not _found(shop, payment.id)


def test_what_was_refunded_elsewhere_is_recorded(shop: Shop) -> None:
    payment = shop.captured()
    behind_our_back(shop, payment.id, Kind.REFUND, 700)
    assert _found(shop, payment.id) == [("AMOUNT_DIFFERS", "RECORDED")]
    assert shop.stands(payment.id) == ("CAPTURED", 2500, 700)


def test_an_authorization_that_ended_is_recorded_as_given_up(shop: Shop) -> None:
    payment = shop.authorize()
    shop.provider.steer("/_expire", payment_intent=_reference(shop, payment.id))
    assert _found(shop, payment.id) == [("STATE_DIFFERS", "RECORDED")]
    assert shop.get(payment.id).state == pb.Payment.VOIDED
    assert shop.booked(payment.id) == {}


def _given_up_and_forgotten(shop: Shop) -> str:
    """A payment that was voided, while the provider holds it and nobody means to tell it so."""
    payment = shop.authorize()
    with shop.provider.gone():
        assert shop.void(payment.id).state == pb.Payment.VOIDED
    shop.execute("update attempt set state = 'REFUSED', refusal = 'lost' where payment_id = %s", payment.id)
    return payment.id


def test_an_authorization_of_a_payment_that_was_given_up_is_let_go(shop: Shop) -> None:
    payment_id = _given_up_and_forgotten(shop)
    assert _found(shop, payment_id) == [("STATE_DIFFERS", "GIVEN_BACK")]
    assert shop.provider.done_for(payment_id)[-1] == "cancel"
    assert not _found(shop, payment_id)
    assert shop.booked(payment_id) == {}


def test_money_that_was_taken_for_a_payment_that_was_given_up_goes_back_and_is_booked(shop: Shop) -> None:
    payment_id, alarms = _given_up_and_forgotten(shop), ALARMS.value(Alarm.CAPTURED_THOUGH_VOIDED)
    behind_our_back(shop, payment_id, Kind.CAPTURE)
    assert ("STATE_DIFFERS", "GIVEN_BACK") in _found(shop, payment_id)
    held = shop.stripe.record(_reference(shop, payment_id))
    assert held
    assert held.given_back
    assert ALARMS.value(Alarm.CAPTURED_THOUGH_VOIDED) == alarms + 1
    entries = shop.finance.ListEntries(pb.ListEntriesRequest(payment_id=payment_id, account="corrections")).entries
    assert [each.amount.units for each in entries] == [25, 25]
    assert shop.booked(payment_id) == {}
    assert not _found(shop, payment_id)


def test_what_a_silent_provider_was_not_told_is_told_by_the_worker(shop: Shop) -> None:
    payment = shop.authorize()
    with shop.provider.gone():
        shop.void(payment.id)
    assert _found(shop, payment.id) == [("STATE_DIFFERS", "COMPLETED")]
    assert shop.provider.done_for(payment.id) == ["payment_intents", "cancel"]


def _stranger() -> tuple[Payment, Attempt]:
    payment = Payment.asked(uuid7(), uuid7(), uuid7(), Money(700, "EUR"), VISA)
    return payment, attempt_of(payment)


def test_an_authorization_that_the_shop_does_not_know_is_let_go(shop: Shop) -> None:
    payment, attempt = _stranger()
    held = shop.stripe.ask(payment, attempt)
    assert _found(shop, held.reference) == [("UNKNOWN_TO_SHOP", "GIVEN_BACK")]
    record = shop.stripe.record(held.reference)
    assert record
    assert record.status == "canceled"
    assert not _found(shop, held.reference)
    assert _kept(shop, held.reference) == [("UNKNOWN_TO_SHOP", "GIVEN_BACK")]


def test_an_authorization_that_only_a_tombstone_knows_is_let_go(shop: Shop) -> None:
    payment, attempt = _stranger()
    shop.void(str(payment.id))
    held = shop.stripe.ask(payment, attempt)
    assert _found(shop, held.reference) == [("UNKNOWN_TO_SHOP", "GIVEN_BACK")]


def test_money_that_was_taken_for_nobody_is_left_to_somebody(shop: Shop) -> None:
    payment, attempt = _stranger()
    held = shop.stripe.ask(payment, attempt)
    shop.stripe.ask(replace(payment, reference=held.reference), attempt_of(payment, Kind.CAPTURE))
    for _ in range(2):
        assert _found(shop, held.reference) == [("UNKNOWN_TO_SHOP", "REPAIR_UNSPECIFIED")]
    assert _kept(shop, held.reference) == [("UNKNOWN_TO_SHOP", "NONE")]


def _second(shop: Shop, payment_id: str) -> str:
    """Another authorization for a payment: what a key that is new with every try would do."""
    with work_of(shop) as work:
        payment = work.payments.lock(UUID(payment_id))
    return shop.stripe.ask(payment, attempt_of(payment)).reference


def test_a_second_authorization_of_a_payment_is_let_go(shop: Shop) -> None:
    payment = shop.authorize()
    second = _second(shop, payment.id)
    assert _found(shop, second) == [("DUPLICATE_AT_PROVIDER", "GIVEN_BACK")]
    assert not _found(shop, payment.id)
    assert shop.capture(payment.id, 2500).state == pb.Payment.CAPTURED


def test_a_second_authorization_stays_where_the_first_is_lost(shop: Shop) -> None:
    payment = shop.authorize()
    second = _reference(shop, payment.id)
    shop.execute("update payment set reference = 'pi_lost' where id = %s", payment.id)
    assert sorted(_found(shop, payment.id)) == [
        ("DUPLICATE_AT_PROVIDER", "REPAIR_UNSPECIFIED"),
        ("MISSING_AT_PROVIDER", "REPAIR_UNSPECIFIED"),
    ]
    record = shop.stripe.record(second)
    assert record
    assert record.status == "requires_capture"


def test_an_amount_that_differs_is_nobody_s_to_repair(shop: Shop) -> None:
    payment = shop.authorize()
    shop.execute("update payment set amount = 2600, authorized = 2600 where id = %s", payment.id)
    assert _found(shop, payment.id) == [("AMOUNT_DIFFERS", "REPAIR_UNSPECIFIED")]


def _reference(shop: Shop, payment_id: str) -> str:
    with shop.database.reading() as connection:
        row = connection.execute("select reference from payment where id = %s", [payment_id]).fetchone()
    assert row
    return str(row[0])


# By itself


def _passes(shop: Shop, clock: Any = None) -> Passes:
    return Passes(partial(work_of, shop), shop.reconciliation, clock or SystemClock(), timedelta(minutes=1))


def _due(shop: Shop) -> None:
    shop.execute("update reconciliation set due_time = now()")


def test_a_pass_is_made_by_one_of_many_and_not_again_until_it_is_due(shop: Shop) -> None:
    _due(shop)
    passes = _passes(shop)
    assert sorted(at_once(passes.reconcile_recent, 6), key=bool) == [False] * 5 + [True]
    assert not passes.reconcile_recent()


def test_by_itself_everything_new_is_compared_once_it_is_old_enough(shop: Shop) -> None:
    clock = FixedClock(datetime.now(UTC))
    passes = _passes(shop, clock)
    payment_id = _unheard(shop)
    _due(shop)
    passes.reconcile_recent()
    assert shop.get(payment_id).state == pb.Payment.PENDING
    clock.forward(2 * YOUNG)
    with shop.provider.gone():
        _due(shop)
        passes.reconcile_recent()
        assert shop.get(payment_id).state == pb.Payment.PENDING
    _due(shop)
    passes.reconcile_recent()
    assert shop.get(payment_id).state == pb.Payment.AUTHORIZED


def test_by_itself_whole_days_are_compared_too(shop: Shop) -> None:
    payment, attempt = _stranger()
    held = shop.stripe.ask(payment, attempt)
    clock = FixedClock(datetime.now(UTC) + timedelta(hours=40))
    _due(shop)
    assert _passes(shop, clock).reconcile_days()
    assert _kept(shop, held.reference) == [("UNKNOWN_TO_SHOP", "GIVEN_BACK")]
    assert not _passes(shop, clock).reconcile_days()
