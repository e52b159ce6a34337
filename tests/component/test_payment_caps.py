"""Card testing: whoever is declined too often is refused before the provider is asked."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from mercato.errors import MercatoError, ResourceExhausted
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.testing import a_customer, at_once
from services.payment.domain import CASH, PaymentDeclined, TooManyDeclines
from services.payment.store import Caps
from tests.component.payment_shop import VISA, Shop, opened
from tests.component.provider_process import ProviderProcess, provider_running

DECLINED = "pm_card_visa_chargeDeclined"
NO_FUNDS = "pm_card_chargeDeclinedInsufficientFunds"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    with provider_running(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def shop(payment_database: Database, provider: ProviderProcess) -> Iterator[Shop]:
    with opened(payment_database, provider, Caps(3, 5, timedelta(hours=1))) as shop:
        yield shop
        # What one test was declined is not the next one's.
        shop.execute("update payment set update_time = now() - interval '1 day' where state = 'DECLINED'")


def _somebody() -> Principal:
    return a_customer(str(uuid7()))


def _decline(shop: Shop, customer: Principal, times: int, card: str = DECLINED) -> None:
    for _ in range(times):
        with pytest.raises(PaymentDeclined):
            shop.authorize(card, customer=customer)


def _refused(shop: Shop, customer: Principal, card: str = VISA) -> TooManyDeclines:
    payment_id = str(uuid7())
    with pytest.raises(TooManyDeclines) as refused:
        shop.authorize(card, payment_id=payment_id, customer=customer)
    assert shop.provider.done_for(payment_id) == []
    assert shop.told(payment_id) == []
    return refused.value


def test_a_customer_who_was_declined_too_often_is_refused_and_told_for_how_long(shop: Shop) -> None:
    customer = _somebody()
    _decline(shop, customer, 3)
    refusal = _refused(shop, customer)
    assert (refusal.reason, refusal.definite) == ("TOO_MANY_DECLINES", True)
    assert isinstance(refusal, ResourceExhausted)
    assert refusal.retry_after
    assert 3500 < refusal.retry_after <= 3600


def test_others_pay_and_the_customer_pays_in_cash(shop: Shop) -> None:
    customer = _somebody()
    _decline(shop, customer, 3)
    _refused(shop, customer)
    assert shop.authorize(customer=_somebody()).method == "visa •••• 4242"
    assert shop.authorize(CASH, customer=customer).method == CASH


def test_what_was_answered_before_the_cap_is_answered_so_after_it(shop: Shop) -> None:
    customer, declined = _somebody(), str(uuid7())
    granted = shop.authorize(customer=customer)
    _decline(shop, customer, 2)
    for _ in range(2):
        with pytest.raises(PaymentDeclined):
            shop.authorize(DECLINED, payment_id=declined, customer=customer)
    _refused(shop, customer)
    assert shop.authorize(payment_id=granted.id, customer=customer) == granted
    with pytest.raises(PaymentDeclined):
        shop.authorize(DECLINED, payment_id=declined, customer=customer)


def test_a_refusal_counts_as_no_decline_and_ends_with_the_window(shop: Shop) -> None:
    customer = _somebody()
    _decline(shop, customer, 3)
    for _ in range(3):
        _refused(shop, customer)
    shop.execute(
        """update payment set update_time = update_time - interval '50 minutes'
           where customer_id = %s and state = 'DECLINED'""",
        customer.subject,
    )
    refusal = _refused(shop, customer)
    assert refusal.retry_after
    assert refusal.retry_after <= 600
    shop.execute(
        """update payment set update_time = update_time - interval '11 minutes' where id = (
               select id from payment where customer_id = %s and state = 'DECLINED' order by update_time limit 1)""",
        customer.subject,
    )
    assert shop.authorize(customer=customer).method == "visa •••• 4242"


def test_a_means_of_payment_that_many_try_is_refused_to_all_and_no_other_is(shop: Shop) -> None:
    for _ in range(5):
        _decline(shop, _somebody(), 1, NO_FUNDS)
    _refused(shop, _somebody(), NO_FUNDS)
    assert shop.authorize(customer=_somebody()).method == "visa •••• 4242"


def test_many_at_once_get_no_further_than_what_was_under_way(shop: Shop) -> None:
    customer = _somebody()
    _decline(shop, customer, 2)
    outcomes = at_once(partial(shop.authorize, DECLINED, customer=customer), 6)
    assert all(isinstance(each, PaymentDeclined | TooManyDeclines) for each in outcomes), outcomes
    _refused(shop, customer)


def test_a_payment_that_was_refused_can_be_voided_and_stays_so(shop: Shop) -> None:
    customer, payment_id = _somebody(), str(uuid7())
    _decline(shop, customer, 3)
    with pytest.raises(TooManyDeclines):
        shop.authorize(payment_id=payment_id, customer=customer)
    shop.void(payment_id)
    with pytest.raises(MercatoError) as late:
        shop.authorize(payment_id=payment_id, customer=customer)
    assert late.value.reason == "PAYMENT_VOIDED"
