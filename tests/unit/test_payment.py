"""Payments without a provider or a database: what decisions and answers make of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.errors import InvalidArgument, MercatoError
from mercato.ids import uuid7
from mercato.money import Money
from services.payment import outcome
from services.payment.domain import (
    CASH,
    UNKNOWN_METHOD,
    Alarm,
    Attempt,
    CaptureExceedsAuthorization,
    CurrencyMismatch,
    Done,
    Happened,
    Kind,
    Payment,
    PaymentCaptured,
    PaymentDeclined,
    PaymentVoided,
    Progress,
    ProviderSilent,
    Record,
    RefundExceedsCapture,
    Refused,
    State,
    UnknownPaymentMethod,
)
from services.payment.ledger import Booking, Side, balanced
from services.payment.outcome import Change
from services.payment.reconciliation import Kind as Differs
from services.payment.reconciliation import compare
from services.payment.resolution import Leases, Patience


def eur(amount: int) -> Money:
    return Money(amount, "EUR")


def asked(method: str = "pm_card_visa", amount: int = 2500) -> Payment:
    return Payment.asked(uuid7(), uuid7(), uuid7(), eur(amount), method)


def attempt(payment: Payment, kind: Kind, amount: int = 0, number: int = 1) -> Attempt:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Attempt(uuid7(), payment.id, kind, number, amount or payment.amount.amount, Progress.PENDING, "", 0, now)


def granted(payment: Payment) -> Payment:
    return outcome.authorized(payment, Done("pi_1", payment.amount.amount, "visa •••• 4242")).payment


def test_a_payment_is_granted_declined_or_not_known_yet() -> None:
    payment = asked()
    assert granted(payment).granted().method == "visa •••• 4242"
    with pytest.raises(PaymentDeclined) as declined:
        outcome.declined(payment, Refused("insufficient_funds", "pi_1")).payment.granted()
    assert declined.value.metadata == {"decline_code": "insufficient_funds"}
    with pytest.raises(UnknownPaymentMethod):
        outcome.declined(payment, Refused(UNKNOWN_METHOD)).payment.granted()
    with pytest.raises(PaymentVoided):
        outcome.voided(payment).payment.granted()
    with pytest.raises(ProviderSilent):
        payment.granted()


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_is_no_amount(amount: int) -> None:
    with pytest.raises(InvalidArgument):
        asked(amount=amount)
    with pytest.raises(InvalidArgument):
        granted(asked()).may_take(eur(amount))


def test_never_more_is_taken_than_authorized_nor_given_back_than_taken() -> None:
    payment = granted(asked(amount=1000))
    with pytest.raises(CaptureExceedsAuthorization):
        payment.may_take(eur(1001))
    with pytest.raises(CurrencyMismatch):
        payment.may_take(Money(1, "USD"))
    with pytest.raises(RefundExceedsCapture):
        payment.refund(eur(1))
    taken = outcome.captured(payment, eur(800)).payment
    with pytest.raises(RefundExceedsCapture):
        taken.refund(eur(500)).refund(eur(301))
    with pytest.raises(CurrencyMismatch):
        taken.refund(Money(1, "USD"))


def test_what_was_taken_is_refunded_never_voided() -> None:
    taken = outcome.captured(granted(asked()), eur(100)).payment
    back = outcome.refunded(taken.refund(eur(100)), eur(100)).payment
    assert back.state is State.REFUNDED
    for payment in (taken, back):
        with pytest.raises(PaymentCaptured):
            outcome.voided(payment)


def test_an_authorization_found_after_the_void_is_cancelled_and_alarmed() -> None:
    late = outcome.voided(asked()).payment
    change = outcome.answered(late, attempt(late, Kind.AUTHORIZE), Done("pi_1", 2500, "visa •••• 4242"))
    assert (change.payment.state, change.payment.reference) == (State.VOIDED, "pi_1")
    assert (change.cancel, change.alarm, change.happened) == (True, Alarm.AUTHORIZED_AFTER_VOID, None)
    assert change.payment.authorized == eur(2500)
    assert [each.account for each in change.bookings] == ["provider_hold", "promised", "promised", "provider_hold"]


def test_a_decline_found_after_the_void_changes_nothing() -> None:
    late = outcome.voided(asked()).payment
    change = outcome.answered(late, attempt(late, Kind.AUTHORIZE), Refused("generic_decline"))
    assert change == Change(late)


def test_a_refused_capture_leaves_the_authorization() -> None:
    payment = granted(asked())
    assert outcome.answered(payment, attempt(payment, Kind.CAPTURE), Refused("generic_decline")) == Change(payment)


def test_a_capture_that_finds_the_authorization_gone_gives_the_payment_up() -> None:
    held = granted(asked())
    change = outcome.answered(held, attempt(held, Kind.CAPTURE), Refused("authorization_expired", lapsed=True))
    assert (change.payment.state, change.happened) == (State.VOIDED, Happened.VOIDED)
    assert change.alarm is Alarm.AUTHORIZATION_EXPIRED
    assert not change.cancel
    with pytest.raises(PaymentVoided) as gone:
        change.payment.granted()
    assert gone.value.metadata == {"decline_code": "authorization_expired"}


def test_a_refused_refund_may_be_decided_again() -> None:
    payment = outcome.captured(granted(asked()), eur(100)).payment.refund(eur(100))
    change = outcome.answered(payment, attempt(payment, Kind.REFUND, 100), Refused("expired_card"))
    assert change.alarm is Alarm.REFUND_REFUSED
    assert change.payment.refundable == eur(100)


@pytest.mark.parametrize(
    ("answer", "alarm"),
    [
        (Done("pi_1", 2500), None),
        (Done("pi_1", 2500, given_back=True), Alarm.CAPTURED_THOUGH_VOIDED),
        (Refused("payment_intent_unexpected_state"), Alarm.CANCEL_REFUSED),
    ],
)
def test_a_cancellation_that_met_something_else_is_alarmed(answer: Done | Refused, alarm: Alarm | None) -> None:
    payment = outcome.voided(granted(asked())).payment
    change = outcome.answered(payment, attempt(payment, Kind.CANCEL), answer)
    assert replace(change, bookings=()) == Change(payment, alarm=alarm)
    # What was taken and given back stands in the books, and comes to nothing.
    assert len(change.bookings) == (4 if isinstance(answer, Done) and answer.given_back else 0)
    assert not any(_balances(list(change.bookings)).values())


def test_a_key_is_that_of_the_decision() -> None:
    payment = asked()
    capture, again = attempt(payment, Kind.CAPTURE), attempt(payment, Kind.CAPTURE)
    assert capture.key == again.key
    assert capture.key != attempt(payment, Kind.CAPTURE, number=2).key != attempt(payment, Kind.AUTHORIZE).key
    assert attempt(payment, Kind.REFUND).key != attempt(payment, Kind.REFUND).key
    assert len(capture.key) < 255


Act = Callable[[Payment], Change]


def _acts() -> st.SearchStrategy[Act]:
    """Anything that may come to a payment, sensible or not."""
    amount = st.integers(-1, 120).map(eur)
    answer: st.SearchStrategy[Done | Refused] = st.sampled_from([Done("pi_1", 100, "card"), Refused("generic_decline")])

    def take(money: Money) -> Act:
        def act(payment: Payment) -> Change:
            payment.granted().may_take(money)
            return outcome.captured(payment, money) if payment.state is State.AUTHORIZED else Change(payment)

        return act

    def answer_authorization(said: Done | Refused) -> Act:
        def act(payment: Payment) -> Change:
            waits = payment.state is State.PENDING
            return outcome.answered(payment, attempt(payment, Kind.AUTHORIZE), said) if waits else Change(payment)

        return act

    records = st.builds(
        lambda status, captured, refunded: Record("pi_1", "", status, "EUR", 100, captured, min(captured, refunded)),
        st.sampled_from(["requires_payment_method", "requires_capture", "canceled", "succeeded"]),
        st.integers(1, 100),
        st.integers(0, 100),
    )

    def observe(record: Record) -> Act:
        return lambda payment: (None if payment.cash else outcome.observed(payment, record)) or Change(payment)

    return st.one_of(
        st.just(outcome.voided),
        records.map(observe),
        answer.map(answer_authorization),
        amount.map(take),
        amount.map(lambda money: lambda payment: outcome.refunded(payment.refund(money), money)),
    )


@given(st.sampled_from(["pm_card_visa", CASH]), st.lists(_acts(), max_size=12))
def test_whatever_happens_the_books_balance_and_agree_with_the_payment(method: str, acts: list[Act]) -> None:
    payment, booked, told = asked(method, 100), list[Booking](), list[int]()
    for act in acts:
        try:
            change = act(payment)
        except MercatoError:
            continue
        assert balanced(change.bookings)
        assert (change.payment.version > payment.version) == (change.happened is not None)
        payment, booked = change.payment, [*booked, *change.bookings]
        told += [payment.version] if change.happened else []
    assert 0 <= payment.refunded.amount <= payment.captured.amount <= payment.authorized.amount <= payment.amount.amount
    assert told == sorted(set(told)), "every event has a version of its own"
    balance = _balances(booked)
    open_promise = payment.authorized.amount if payment.state is State.AUTHORIZED else 0
    assert balance["provider_hold"] + balance["customer_receivable"] == open_promise == -balance["promised"]
    assert -balance["sales"] == payment.captured.amount
    assert balance["refunds"] == payment.refunded.amount


def _balances(bookings: list[Booking]) -> Counter[str]:
    balance = Counter[str]()
    for each in bookings:
        balance[each.account] += each.amount.amount if each.side is Side.DEBIT else -each.amount.amount
    return balance


def test_cash_is_booked_without_the_provider() -> None:
    change = outcome.captured(granted(asked(CASH)), eur(2400))
    assert {each.account for each in change.bookings} == {
        "promised",
        "customer_receivable",
        "cash_with_couriers",
        "sales",
    }
    assert change.happened is Happened.CAPTURED
    assert not outcome.voided(granted(asked(CASH))).cancel


def record(payment: Payment, status: str, captured: int = 0, refunded: int = 0, amount: int = 2500) -> Record:
    return Record("pi_1", str(payment.id), status, "EUR", amount, captured, refunded)


def test_what_agrees_makes_no_difference() -> None:
    held = granted(asked())
    taken = outcome.captured(held, eur(2000)).payment
    back = outcome.refunded(taken.refund(eur(2000)), eur(2000)).payment
    assert not list(compare(held, record(held, "requires_capture")))
    assert not list(compare(taken, record(taken, "succeeded", 2000)))
    assert not list(compare(back, record(back, "succeeded", 2000, 2000)))
    assert not list(compare(outcome.voided(held).payment, record(held, "canceled")))


def test_a_state_or_an_amount_that_differs_is_named() -> None:
    taken = outcome.captured(granted(asked()), eur(2000)).payment
    state, amount = compare(taken, record(taken, "requires_capture"))
    assert (state.kind, state.ours, state.theirs) == (Differs.STATE_DIFFERS, "CAPTURED", "requires_capture")
    assert (amount.kind, amount.ours, amount.theirs) == (Differs.AMOUNT_DIFFERS, "20.00 EUR", "0.00 EUR")
    other = replace(record(taken, "succeeded", 2000), reference="pi_2")
    assert [each.kind for each in compare(taken, other)] == [Differs.STATE_DIFFERS]


def test_what_happened_at_the_provider_is_taken_over_and_what_only_a_human_can_judge_is_not() -> None:
    held = granted(asked())
    taken = outcome.captured(held, eur(2000)).payment
    given_up, declined = outcome.voided(held).payment, asked().decline(Refused("no"))
    kinds = [
        (held, record(held, "canceled"), State.VOIDED, Alarm.AUTHORIZATION_EXPIRED, False),
        (held, record(held, "succeeded", 2000), State.CAPTURED, Alarm.CAPTURED_ELSEWHERE, False),
        (taken, record(taken, "succeeded", 2000, 300), State.CAPTURED, Alarm.REFUNDED_ELSEWHERE, False),
        (taken, record(taken, "succeeded", 2000, 2000), State.REFUNDED, Alarm.REFUNDED_ELSEWHERE, False),
        (given_up, record(given_up, "requires_capture"), State.VOIDED, Alarm.AUTHORIZED_AFTER_VOID, True),
        (given_up, record(given_up, "succeeded", 2500), State.VOIDED, Alarm.AUTHORIZED_AFTER_VOID, True),
        (declined, record(declined, "requires_capture"), State.DECLINED, Alarm.AUTHORIZED_AFTER_VOID, True),
    ]
    for payment, theirs, state, alarm, cancel in kinds:
        change = outcome.observed(payment, theirs)
        assert change
        assert (change.payment.state, change.alarm, change.cancel) == (state, alarm, cancel)
        assert balanced(change.bookings)
    for payment, theirs in [
        (held, record(held, "requires_capture")),
        (held, record(held, "requires_payment_method")),
        (held, record(held, "succeeded", 2000, amount=2400)),
        (held, replace(record(held, "succeeded", 2000), currency="USD")),
        (held, replace(record(held, "succeeded", 2000), reference="pi_2")),
        (taken, record(taken, "requires_capture")),
        (taken, record(taken, "succeeded", 2000, 2001)),
        (given_up, record(given_up, "succeeded", 2500, 2500)),
        (asked(), record(held, "requires_capture")),
    ]:
        assert outcome.observed(payment, theirs) is None


def test_pauses_double_up_to_the_longest() -> None:
    leases = Leases(timedelta(seconds=5), timedelta(seconds=60))
    assert [leases.pause(tries).total_seconds() for tries in (1, 2, 3, 10, 10_000)] == [1, 2, 4, 60, 60]


def test_patience_ends_before_the_caller_s_time_does() -> None:
    paused: list[float] = []
    patience = Patience(paused.append, ends=float("inf"))
    assert all(patience.wait() for _ in range(5))
    assert paused == [0.05, 0.1, 0.2, 0.4, 0.4]
    assert not Patience(paused.append, ends=0).wait()
