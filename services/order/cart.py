"""A cart: what somebody means to order, and what it costs now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mercato.money import Money
from services.order.neighbours import Offer

MAX_LINES = 100
_GONE = "OUT_OF_STOCK"


@dataclass(frozen=True, slots=True)
class CartLine:
    """One SKU of a cart, with what it was called and cost when it was last set."""

    sku: str
    quantity: int
    title: str
    unit_price: Money


@dataclass(frozen=True, slots=True)
class KeptCart:
    """A cart as it is kept."""

    version: int = 0
    lines: tuple[CartLine, ...] = ()

    @property
    def skus(self) -> tuple[str, ...]:
        """What lies in it."""
        return tuple(line.sku for line in self.lines)


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One SKU of a cart, priced now; without a price when it is no longer sold."""

    sku: str
    quantity: int
    title: str
    product_id: str
    unit_price: Money | None
    price_changed: bool
    availability: str


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart, priced now."""

    version: int
    lines: tuple[PricedLine, ...]
    subtotal: Money


def priced(cart: KeptCart, offers: Mapping[str, Offer], currency: str) -> Cart:
    """The cart at the prices of now. `currency` is that of a cart in which nothing has a price."""
    lines = tuple(_priced(line, offers.get(line.sku)) for line in cart.lines)
    totals = [line.unit_price * line.quantity for line in lines if line.unit_price is not None]
    return Cart(cart.version, lines, Money.total(totals, totals[0].currency if totals else currency))


def _priced(line: CartLine, offer: Offer | None) -> PricedLine:
    if offer is None:
        return PricedLine(line.sku, line.quantity, line.title, "", None, False, _GONE)
    changed = offer.unit_price != line.unit_price
    return PricedLine(
        line.sku, line.quantity, offer.title, offer.product_id, offer.unit_price, changed, offer.availability
    )


def merged(own: Iterable[CartLine], guest: Iterable[CartLine]) -> tuple[CartLine, ...]:
    """Both carts' lines, of the same SKU the larger quantity; what no longer fits is left behind."""
    lines = {line.sku: line for line in own}
    for line in guest:
        if line.sku not in lines or lines[line.sku].quantity < line.quantity:
            lines[line.sku] = line
    return tuple(lines.values())[:MAX_LINES]
