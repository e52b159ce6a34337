"""The provider's client, asked in ways that the service meets only on bad days."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from mercato.ids import uuid7
from mercato.money import Money
from mercato.testing import FixedClock
from services.payment.connection import SILENCES, StripeConnection
from services.payment.domain import Attempt, Done, Kind, Payment, Progress, ProviderSilent, Refused
from services.payment.provider import StripeProvider
from tests.component.provider_process import KEY, ProviderProcess, provider_running

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def provider(process: ProviderProcess, clock: FixedClock) -> Iterator[StripeProvider]:
    connection = _connection(process.url)
    yield StripeProvider(connection, clock, timedelta(hours=20))
    connection.close()


def _connection(url: str, key: str = KEY) -> StripeConnection:
    return StripeConnection(key, url, timedelta(seconds=1), timedelta(seconds=2))


def _payment(card: str = "pm_card_visa") -> Payment:
    return Payment.asked(uuid7(), uuid7(), uuid7(), Money(1000, "EUR"), card)


def _attempt(
    payment: Payment, kind: Kind, number: int = 1, amount: int = 1000, attempt_id: UUID | None = None
) -> Attempt:
    return Attempt(attempt_id or uuid7(), payment.id, kind, number, amount, Progress.PENDING, "", 0, NOW)


def _authorized(provider: StripeProvider) -> Payment:
    payment = _payment()
    done = provider.ask(payment, _attempt(payment, Kind.AUTHORIZE))
    return replace(payment, reference=done.reference)


def _captured(provider: StripeProvider) -> Payment:
    payment = _authorized(provider)
    assert isinstance(provider.ask(payment, _attempt(payment, Kind.CAPTURE)), Done)
    return payment


def test_a_refusal_of_our_own_key_says_nothing_about_the_payment(process: ProviderProcess) -> None:
    connection, payment = _connection(process.url, "sk_test_of_somebody_else"), _payment()
    silences = SILENCES.value("AuthenticationError")
    with pytest.raises(ProviderSilent):
        StripeProvider(connection, FixedClock(NOW), timedelta(1)).ask(payment, _attempt(payment, Kind.AUTHORIZE))
    assert SILENCES.value("AuthenticationError") == silences + 1
    connection.close()


@pytest.mark.parametrize("address", ["{url}/elsewhere", "http://127.0.0.1:1"])
def test_an_address_where_no_provider_is_declines_nobody(process: ProviderProcess, address: str) -> None:
    connection, payment = _connection(address.format(url=process.url)), _payment()
    with pytest.raises(ProviderSilent):
        StripeProvider(connection, FixedClock(NOW), timedelta(1)).ask(payment, _attempt(payment, Kind.AUTHORIZE))
    connection.close()


def test_a_key_that_stands_for_another_request_is_no_answer(provider: StripeProvider) -> None:
    payment = _payment()
    attempt = _attempt(payment, Kind.AUTHORIZE)
    provider.ask(payment, attempt)
    with pytest.raises(ProviderSilent):
        provider.ask(payment, replace(attempt, amount=1))


def test_a_connection_that_died_unnoticed_costs_one_question(
    provider: StripeProvider, process: ProviderProcess
) -> None:
    payment = _authorized(provider)
    with process.gone():
        pass
    attempt = _attempt(payment, Kind.CAPTURE)
    try:
        answer = provider.ask(payment, attempt)
    except ProviderSilent:
        answer = provider.ask(payment, attempt)
    assert isinstance(answer, Done)


def test_what_is_cancelled_already_is_cancelled(provider: StripeProvider) -> None:
    payment = _authorized(provider)
    for number in (1, 2):
        assert provider.ask(payment, _attempt(payment, Kind.CANCEL, number)) == Done(payment.reference or "", 1000)


def test_a_cancellation_that_meets_a_capture_refunds_it_once(provider: StripeProvider) -> None:
    payment = _captured(provider)
    first, second = (_attempt(payment, Kind.CANCEL, number) for number in (1, 2))
    for _ in range(2):
        assert provider.ask(payment, first) == Done(payment.reference or "", 1000, given_back=True)
    # Another cancellation finds nothing left, and must not be booked as if it had done it.
    assert provider.ask(payment, second) == Done(payment.reference or "", 0, given_back=True)
    held = provider.record(payment.reference or "")
    assert held
    assert (held.status, held.captured, held.refunded) == ("succeeded", 1000, 1000)


def test_a_capture_of_what_is_held_no_longer_is_refused_as_that(provider: StripeProvider) -> None:
    payment = _authorized(provider)
    provider.ask(payment, _attempt(payment, Kind.CANCEL))
    answer = provider.ask(payment, _attempt(payment, Kind.CAPTURE))
    assert answer == Refused("authorization_expired", lapsed=True)


def test_an_old_refund_is_found_by_its_label_and_not_given_twice(provider: StripeProvider, clock: FixedClock) -> None:
    payment = _captured(provider)
    refund = _attempt(payment, Kind.REFUND, amount=400)
    done = provider.ask(payment, refund)
    clock.forward(timedelta(days=2))
    assert provider.ask(payment, refund) == done
    held = provider.record(payment.reference or "")
    assert held
    assert held.refunded == 400


def test_a_refund_of_more_than_is_left_is_refused(provider: StripeProvider) -> None:
    payment = _captured(provider)
    answer = provider.ask(payment, _attempt(payment, Kind.REFUND, amount=1001))
    assert isinstance(answer, Refused)


def test_the_provider_s_list_is_read_to_its_end(provider: StripeProvider) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=5)
    before = len(provider.records(begin, begin + timedelta(hours=1)))
    made = {str(_authorized(provider).id) for _ in range(101)}
    records = provider.records(begin, begin + timedelta(hours=1))
    assert len(records) == before + 101
    assert made <= {each.payment_id for each in records}
    assert not provider.records(begin - timedelta(days=2), begin - timedelta(days=1))


def test_what_the_provider_never_heard_of_is_nothing(provider: StripeProvider) -> None:
    assert provider.record("pi_unheard_of") is None
