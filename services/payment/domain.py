"""Payments: where each stands, what the provider is asked to do for it, and what its answers make of it.

Decisions are pure. Silence is no answer: what the provider did not say is asked for again, and never decides anything.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from mercato.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from mercato.money import Money

CASH = "cash_on_delivery"
UNKNOWN_METHOD = "unknown_payment_method"
EXPIRED = "authorization_expired"
_UNDATED = datetime.min.replace(tzinfo=UTC)


class PaymentDeclined(FailedPrecondition):
    """The provider said no."""

    def __init__(self, decline_code: str) -> None:
        told = decline_code.replace("_", " ")
        super().__init__(f"the payment was declined: {told}", decline_code=decline_code)


class UnknownPaymentMethod(FailedPrecondition):
    """The provider does not know the means of payment."""

    def __init__(self) -> None:
        super().__init__("the provider does not know this means of payment", decline_code=UNKNOWN_METHOD)


class PaymentVoided(FailedPrecondition):
    """The payment was given up, which is final."""


class TooManyDeclines(ResourceExhausted):
    """This customer, or this means of payment, was declined too often of late: whoever tries out cards is stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many payments were declined of late; try again later, or pay cash on delivery")
        self.retry_after = seconds


class PaymentCaptured(FailedPrecondition):
    """The money was taken; it can only be refunded."""


class CaptureExceedsAuthorization(FailedPrecondition):
    """More would be taken than was authorized."""

    def __init__(self, amount: Money, authorized: Money) -> None:
        super().__init__(
            f"{amount} is more than the {authorized} authorized", amount=str(amount), authorized=str(authorized)
        )


class CaptureFailed(FailedPrecondition):
    """The provider refused to take what it had authorized. It may be tried again."""

    def __init__(self, decline_code: str) -> None:
        super().__init__(f"the provider refused the capture: {decline_code}", decline_code=decline_code)


class NotCash(FailedPrecondition):
    """The payment is not by cash on delivery."""


class OnlyCash(FailedPrecondition):
    """The payment is by cash on delivery: it is settled by the courier, never captured."""


class CurrencyMismatch(FailedPrecondition):
    """The payment is in another currency."""

    def __init__(self, given: str, currency: str) -> None:
        super().__init__(f"the payment is in {currency}, not {given}", currency=currency)


class RefundExceedsCapture(FailedPrecondition):
    """More would be given back than was taken and not yet given back."""

    def __init__(self, amount: Money, left: Money) -> None:
        super().__init__(f"{amount} is more than the {left} that may be refunded", amount=str(amount), left=str(left))


class RefundFailed(FailedPrecondition):
    """The provider refused to give the money back."""

    def __init__(self, decline_code: str) -> None:
        super().__init__(f"the provider refused the refund: {decline_code}", decline_code=decline_code)


class ProviderSilent(Unavailable):
    """The provider has not said what became of it; ask again."""


class State(StrEnum):
    """Where a payment stands."""

    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"


class Kind(StrEnum):
    """What the provider may be asked to do."""

    AUTHORIZE = "AUTHORIZE"
    CAPTURE = "CAPTURE"
    CANCEL = "CANCEL"
    REFUND = "REFUND"


class Progress(StrEnum):
    """Whether the provider has said what became of an attempt."""

    PENDING = "PENDING"
    DONE = "DONE"
    REFUSED = "REFUSED"


class Alarm(StrEnum):
    """What a human should hear of, though it was put right."""

    AUTHORIZED_AFTER_VOID = "authorized_after_void"
    AUTHORIZATION_EXPIRED = "authorization_expired"
    CAPTURED_ELSEWHERE = "captured_elsewhere"
    CAPTURED_THOUGH_VOIDED = "captured_though_voided"
    REFUNDED_ELSEWHERE = "refunded_elsewhere"
    CANCEL_REFUSED = "cancel_refused"
    REFUND_REFUSED = "refund_refused"


@dataclass(frozen=True, slots=True)
class Done:
    """The provider did it: its id for that, the amount in minor units, the means of payment, masked."""

    reference: str
    amount: int
    method: str = ""
    given_back: bool = False
    """Of a cancellation: it had been captured, and was refunded instead."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no, for good, in its own words."""

    code: str
    reference: str = ""
    lapsed: bool = False
    """Of a capture: the provider holds nothing any more."""


Answer = Done | Refused


class Happened(StrEnum):
    """What is told of a payment."""

    AUTHORIZED = "AUTHORIZED"
    DECLINED = "DECLINED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that the provider was asked to do, with one key for as often as it is asked."""

    id: UUID
    payment_id: UUID
    kind: Kind
    number: int
    amount: int
    state: Progress
    refusal: str
    lease_token: int
    create_time: datetime

    @property
    def key(self) -> str:
        """The provider's idempotency key: of the decision, not of the try. A refund's is that of its own id."""
        if self.kind is Kind.REFUND:
            return f"mercato-{self.id}-refund"
        return f"mercato-{self.payment_id}-{self.kind.lower()}-{self.number}"

    def answered(self, answer: Answer) -> "Attempt":
        """The attempt when the provider has spoken."""
        match answer:
            case Done():
                return replace(self, state=Progress.DONE)
            case Refused(code):
                return replace(self, state=Progress.REFUSED, refusal=code)
            case _:
                assert_never(answer)


@dataclass(frozen=True, slots=True)
class Payment:
    """What one order costs and how far it is paid. A tombstone has no order."""

    id: UUID
    order_id: UUID | None
    customer_id: UUID | None
    payment_method: str | None
    method: str
    reference: str | None
    state: State
    amount: Money
    authorized: Money
    captured: Money
    refunded: Money
    refunding: Money
    decline_code: str
    version: int
    create_time: datetime
    update_time: datetime

    @classmethod
    def asked(
        cls, payment_id: UUID, order_id: UUID, customer_id: UUID, amount: Money, payment_method: str
    ) -> "Payment":
        """A payment that nothing was done for yet; the database dates it. InvalidArgument."""
        none = Money.zero(amount.currency)
        payment = cls(
            id=payment_id,
            order_id=order_id,
            customer_id=customer_id,
            payment_method=payment_method,
            method=CASH if payment_method == CASH else "card",
            reference=None,
            state=State.PENDING,
            amount=amount,
            authorized=none,
            captured=none,
            refunded=none,
            refunding=none,
            decline_code="",
            version=1,
            create_time=_UNDATED,
            update_time=_UNDATED,
        )
        payment.check(amount)
        return payment

    @property
    def cash(self) -> bool:
        """Whether the courier collects it."""
        return self.payment_method == CASH

    @property
    def refundable(self) -> Money:
        """What was taken and not given back, nor is being given back."""
        return self.captured - self.refunded - self.refunding

    def granted(self) -> "Payment":
        """The payment itself, if it is authorized or further. PaymentDeclined, PaymentVoided, ProviderSilent."""
        match self.state:
            case State.PENDING:
                raise ProviderSilent
            case State.DECLINED if self.decline_code == UNKNOWN_METHOD:
                raise UnknownPaymentMethod
            case State.DECLINED:
                raise PaymentDeclined(self.decline_code)
            case State.VOIDED if self.decline_code:
                raise PaymentVoided("the payment is held no longer", decline_code=self.decline_code)
            case State.VOIDED:
                raise PaymentVoided
            case _:
                return self

    def check(self, amount: Money) -> None:
        """That an amount is one of this payment's currency, and is one. CurrencyMismatch, InvalidArgument."""
        if amount.currency != self.amount.currency:
            raise CurrencyMismatch(amount.currency, self.amount.currency)
        if amount.amount <= 0:
            raise InvalidArgument.of("amount", "must be above zero", "RANGE")

    def may_take(self, amount: Money) -> None:
        """That so much may be captured or settled. CaptureExceedsAuthorization."""
        self.check(amount)
        if amount > self.authorized:
            raise CaptureExceedsAuthorization(amount, self.authorized)

    def authorize(self, method: str, reference: str | None = None) -> "Payment":
        """The amount is reserved."""
        return self._next(state=State.AUTHORIZED, authorized=self.amount, method=method, reference=reference)

    def decline(self, refusal: Refused) -> "Payment":
        """The provider said no."""
        return self._next(state=State.DECLINED, decline_code=refusal.code, reference=refusal.reference or None)

    def void(self) -> "Payment":
        """Nothing will be taken. PaymentCaptured."""
        if self.state in (State.CAPTURED, State.REFUNDED):
            raise PaymentCaptured
        return self._next(state=State.VOIDED)

    def capture(self, amount: Money) -> "Payment":
        """Money was taken."""
        return self._next(state=State.CAPTURED, captured=amount)

    def refund(self, amount: Money) -> "Payment":
        """Some of it is to be given back: decided, not yet done. RefundExceedsCapture."""
        self.check(amount)
        if amount > self.refundable:
            raise RefundExceedsCapture(amount, self.refundable)
        return replace(self, refunding=self.refunding + amount)

    def refund_done(self, amount: Money) -> "Payment":
        """It was given back."""
        refunded = self.refunded + amount
        state = State.REFUNDED if refunded == self.captured else self.state
        return self._next(state=state, refunded=refunded, refunding=self.refunding - amount)

    def refunded_elsewhere(self, amount: Money) -> "Payment":
        """Some of it was given back at the provider, by whomever."""
        return self.refund(amount).refund_done(amount)

    def refund_refused(self, amount: Money) -> "Payment":
        """It was not given back after all."""
        return replace(self, refunding=self.refunding - amount)

    def lapse(self) -> "Payment":
        """The provider holds the amount no longer, though nobody let it go."""
        return self._next(state=State.VOIDED, decline_code=EXPIRED)

    def tried(self, reference: str) -> "Payment":
        """The provider refused a payment that was voided meanwhile."""
        return replace(self, reference=reference or self.reference)

    def found_late(self, reference: str) -> "Payment":
        """The provider reserved the amount of a payment that was given up meanwhile."""
        return replace(self, reference=reference, authorized=self.amount)

    def _next(self, **changes: object) -> "Payment":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # fields of this very class


@dataclass(frozen=True, slots=True)
class Record:
    """A payment as the provider has it, amounts in minor units. `payment_id` is what we told it, if it was us."""

    reference: str
    payment_id: str
    status: str
    currency: str
    amount: int
    captured: int
    refunded: int

    @property
    def given_back(self) -> bool:
        """Whether all that was taken went back."""
        return self.captured == self.refunded > 0

    @property
    def open(self) -> bool:
        """Whether the provider holds or has any of the customer's money."""
        return self.status == "requires_capture" or self.captured > self.refunded
