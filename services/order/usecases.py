"""What can be done with orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID

from mercato.clock import Clock
from mercato.errors import FailedPrecondition, MercatoError, NotFound
from mercato.etag import check_etag
from mercato.ids import derive, uuid7
from mercato.money import Money
from mercato.rpc import current_call
from services.order import decisions
from services.order.carts import Carts
from services.order.changes import Change, Changes, Decide
from services.order.consent import Consent
from services.order.domain import Order
from services.order.events import OrderLine, OrderPlaced, OrderRejected, Quantity, State
from services.order.history import Entry, history
from services.order.neighbours import Deliveries, Products, SlotQuote, Users
from services.order.personal import Personal
from services.order.placing import CartChanged, NewOrder, Placing
from services.order.process import ProcessManager
from services.order.queries import Filter, OrderNow, OrderQueries, OrderRow, OrderShown
from services.order.refusals import (
    AddressErased,
    CheckoutTimedOut,
    EmptyCart,
    OutOfStock,
    PaymentDeclined,
    PriceChanged,
    SlotClosed,
    SlotFull,
    TooManyDeclines,
    UnknownSku,
)
from services.order.store import OrderWork

STAFF = frozenset({"support", "admin"})


@dataclass(frozen=True, slots=True)
class Placement:
    """What a customer wants to order. Without lines: what is in the cart."""

    lines: tuple[Quantity, ...]
    address_id: UUID
    slot_id: UUID
    payment_method: str
    expected_total: Money | None = None
    note: str = ""


class Placed(NamedTuple):
    """An order as the last change left it, and what it knows of the person, if that is known here."""

    change: Change
    personal: Personal


class Orders:
    """What can be done with orders."""

    def __init__(
        self,
        work: Callable[[], OrderWork],
        queries: OrderQueries,
        changes: Changes,
        process: ProcessManager,
        carts: Carts,
        products: Products,
        users: Users,
        deliveries: Deliveries,
        clock: Clock,
        placing: Placing,
        consent: Consent,
    ) -> None:
        self._work = work
        self._queries = queries
        self._changes = changes
        self._process = process
        self._carts = carts
        self._products = products
        self._users = users
        self._deliveries = deliveries
        self._clock = clock
        self._placing = placing
        self._consent = consent

    # Placing

    def place_order(self, wanted: Placement) -> OrderShown:
        """Order, and see the checkout through as far as it comes. A rejection is raised, with the order's id."""
        with self._process.convoys.joined():
            change, personal = self._ordered_before() or self._place(wanted)
        order = change.order
        if order.rejection:
            raise _refusal(order.id, order.rejection)
        if change.document:
            return OrderNow(order.id, order.customer_id, change.document, personal)
        return self._shown(order.id)

    def _ordered_before(self) -> Placed | None:
        """What a repeated key has ordered, before anybody is asked anything."""
        earlier = self._queries.made(current_call().key)
        if earlier is None:
            return None
        with self._work() as work:
            return Placed(Change(self._changes.load(work, UUID(earlier))), Personal())

    def _place(self, wanted: Placement) -> Placed:
        for _ in range(2):
            try:
                return self._place_once(wanted)
            except CartChanged:
                continue
        return self._place_once(wanted)

    def _place_once(self, wanted: Placement) -> Placed:
        customer_id = UUID(current_call().principal.subject)
        cart = None if wanted.lines else self._carts.mine()
        lines = self._priced(cart.quantities if cart else wanted.lines)
        address = self._users.get_address(customer_id, wanted.address_id)
        subtotal = Money.total((line.total for line in lines), lines[0].unit_price.currency)
        quote = self._deliveries.quote_slot(wanted.slot_id, address.place, subtotal)
        _agreed(wanted.expected_total, subtotal + quote.fee)
        placed = self._consent.placed(self._placed(customer_id, wanted, lines, quote))
        personal = Personal(address, wanted.note)
        with self._process.lane() as lease:
            new = NewOrder(placed, personal, cart, current_call().key, lease)
            return Placed(self._process.see_through(self._placing.place(new)), personal)

    def _priced(self, wanted: Sequence[Quantity]) -> tuple[OrderLine, ...]:
        if not wanted:
            raise EmptyCart
        offers = self._products.offers([line.sku for line in wanted])
        if unknown := {line.sku for line in wanted} - offers.keys():
            raise UnknownSku(unknown)
        found = [(offers[line.sku], line.quantity) for line in wanted]
        return tuple(OrderLine(each.sku, each.product_id, each.title, units, each.unit_price) for each, units in found)

    def _placed(
        self, customer_id: UUID, wanted: Placement, lines: tuple[OrderLine, ...], quote: SlotQuote
    ) -> OrderPlaced:
        return OrderPlaced(
            order_id=uuid7(),
            customer_id=customer_id,
            lines=lines,
            delivery_fee=quote.fee,
            slot=quote.slot,
            warehouse_ids=quote.warehouse_ids,
            payment_method=wanted.payment_method,
            time=self._clock.now(),
        )

    # Reading

    def get_order(self, order_id: UUID) -> OrderRow:
        """An order as it is now."""
        row = self._queries.get(order_id)
        if row is None or current_call().only_of not in (None, str(row.customer_id)):
            raise NotFound
        return row

    def list_orders(self, wanted: Filter, before: UUID | None, limit: int) -> Sequence[OrderRow]:
        """Orders, the newest first: all, or the caller's."""
        only_of = current_call().only_of
        wanted = replace(wanted, customer_id=UUID(only_of)) if only_of else wanted
        return self._queries.find(wanted, before, limit)

    def list_order_events(self, order_id: UUID, after_version: int) -> list[Entry]:
        """What happened to an order after a version."""
        self.get_order(order_id)
        entries = self._queries.list_order_events(order_id, after_version)
        if entries is None:  # it is told a moment later than it happens
            with self._work() as work:
                entries = list(history(work.streams.read(order_id), after_version))
        return entries

    def _shown(self, order_id: UUID) -> OrderRow:
        row = self._queries.get(order_id)
        if row is None:
            raise NotFound
        return row

    # Changing

    def cancel_order(self, order_id: UUID, reason: str, etag: str) -> OrderRow:
        """Call an order off, and give up what it holds."""
        by_staff = bool(current_call().principal.roles & STAFF)
        return self._change(
            order_id,
            lambda order: decisions.cancel(order, by_staff=by_staff),
            etag=etag,
            words={"cancel_reason": reason},
        )

    def start_picking(self, order_id: UUID) -> OrderRow:
        """Begin to pick."""
        return self._change(order_id, decisions.start_picking)

    def finish_picking(self, order_id: UUID, picked: Mapping[str, int]) -> OrderRow:
        """Say what was picked; stock, money and shipment follow."""
        return self._change(order_id, lambda order: decisions.finish_picking(order, picked))

    def retry_payment(self, order_id: UUID, payment_method: str) -> OrderRow:
        """Try to take the money again. PaymentDeclined if that came to a no."""
        row = self._change(
            order_id, lambda order: self._consent.retried(order, decisions.retry_payment(order, payment_method))
        )
        with self._work() as work:
            order = self._changes.load(work, order_id)
        if order.state is State.PAYMENT_DUE and not order.attempt:
            raise PaymentDeclined(order_id=str(order_id), decline_code=order.decline_code)
        return row

    def redeliver(self, order_id: UUID, slot_id: UUID) -> OrderRow:
        """Send an order out once more. The slot is held first, so that a full one is refused here."""
        with self._work() as work:
            earlier = work.idempotency.peek(current_call().key)
            order, personal = self._changes.load(work, order_id), work.personal.of(order_id)
        if earlier or decisions.is_redelivered(order, str(slot_id)):
            return self._shown(order_id)
        if personal.address is None:
            raise AddressErased
        quote = self._deliveries.quote_slot(slot_id, personal.address.place, order.subtotal)
        hold_id = derive(order_id, f"hold:{order.redeliveries + 1}:{slot_id}")
        self._deliveries.hold_slot(hold_id, order_id, str(slot_id))
        return self._change(order_id, lambda now: decisions.redeliver(now, hold_id, quote.slot))

    def request_return(self, order_id: UUID, lines: Sequence[Quantity], reason: str) -> OrderRow:
        """Ask to give goods back."""
        now = self._clock.now()
        return self._change(
            order_id, lambda order: decisions.request_return(order, lines, now), words={"return_reason": reason}
        )

    def approve_return(self, order_id: UUID, restock: Sequence[Quantity]) -> OrderRow:
        """Take goods back: the money follows, and so does what is fit for sale."""
        by = current_call().principal.subject
        return self._change(order_id, lambda order: decisions.approve_return(order, restock, by))

    def refuse_return(self, order_id: UUID, reason: str) -> OrderRow:
        """Take nothing back."""
        by = current_call().principal.subject
        return self._change(
            order_id, lambda order: decisions.refuse_return(order, by), words={"refusal_reason": reason}
        )

    def _change(
        self, order_id: UUID, decide: Decide, *, etag: str = "", words: Mapping[str, str] | None = None
    ) -> OrderRow:
        """Decide on an order of the caller's, once for each key, and see through what that demands."""
        call = current_call()

        def checked(order: Order) -> decisions.Events:
            if call.only_of not in (None, str(order.customer_id)):
                raise NotFound
            check_etag(etag, order.version)
            return decide(order)

        with self._process.lane() as lease:
            with self._work() as work:
                earlier = work.idempotency.find(call.key, str(order_id))
                if earlier:
                    change = Change(self._changes.load(work, UUID(earlier)))
                else:
                    change = self._changes.decide(work, order_id, checked, lease)
                    for what, said in (words or {}).items():
                        work.personal.say(order_id, what, said)
            self._process.see_through(change)
        return self._shown(order_id)


def _agreed(expected: Money | None, total: Money) -> None:
    if expected is not None and expected != total:
        raise PriceChanged(expected, total)


def _refusal(order_id: UUID, rejection: OrderRejected) -> MercatoError:
    """The problem that a rejected order is to its customer."""
    known = {"order_id": str(order_id)}
    match rejection.reason:
        case "OUT_OF_STOCK":
            skus = [{"sku": one.sku, "wanted": one.wanted, "available": one.available} for one in rejection.skus]
            return OutOfStock(f"not enough of {', '.join(one.sku for one in rejection.skus)}", skus=skus, **known)
        case "PAYMENT_DECLINED":
            return PaymentDeclined("", decline_code=rejection.decline_code, **known)
        case "SLOT_FULL":
            return SlotFull("", **known)
        case "SLOT_CLOSED":
            return SlotClosed("", **known)
        case "TOO_MANY_DECLINES":
            return TooManyDeclines("", **known)
        case "CHECKOUT_TIMED_OUT":
            return CheckoutTimedOut("", **known)
        case reason:
            # A neighbour's own no, of which nothing more is known here.
            error = FailedPrecondition("the order could not be accepted", **known)
            error.reason = reason
            return error
