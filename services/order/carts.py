"""What can be done with carts."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass

from mercato.etag import check_etag
from mercato.rpc import current_call
from services.order.cart import MAX_LINES, Cart, CartLine, KeptCart, merged, priced
from services.order.events import Quantity
from services.order.neighbours import Offer, Products
from services.order.refusals import CartFull, UnknownSku
from services.order.store import OrderWork


@dataclass(frozen=True, slots=True)
class CartRead:
    """A cart as it was read to be ordered."""

    version: int
    quantities: tuple[Quantity, ...]


class Carts:
    """What can be done with one's cart."""

    def __init__(self, work: Callable[[], OrderWork], products: Products, currency: str) -> None:
        self._work = work
        self._products = products
        self._currency = currency

    def get_cart(self) -> Cart:
        """The caller's cart, priced now."""
        return self._priced(self._touched())

    def set_cart_line(self, sku: str, quantity: int, etag: str) -> Cart:
        """Put so many of a SKU in; none takes it out."""
        kept = self._touched()
        _fits({*kept.skus, sku})
        offers = self._offers({*kept.skus, sku})
        if quantity and sku not in offers:
            raise UnknownSku([sku])
        offer = offers.get(sku)
        line = CartLine(sku, quantity, offer.title, offer.unit_price) if quantity and offer else None
        return self._priced(self._changed(sku, line, etag))

    def remove_cart_line(self, sku: str) -> None:
        """Take a SKU out."""
        self._touched()
        self._changed(sku, None, "")

    def clear_cart(self) -> None:
        """Take everything out."""
        self._touched()
        owner = current_call().principal.subject
        with self._work() as work:
            if work.carts.lock(owner).lines:
                work.carts.put(owner, ())

    def mine(self) -> CartRead:
        """What the caller means to order."""
        kept = self._touched()
        return CartRead(kept.version, tuple(Quantity(line.sku, line.quantity) for line in kept.lines))

    def _touched(self) -> KeptCart:
        """The caller's cart; the first touch of it takes over what they left in it as a guest."""
        principal = current_call().principal
        with self._work() as work:
            guest = principal.guest_id
            if not guest or guest == principal.subject or not work.carts.unmerged(guest):
                return work.carts.find(principal.subject)
            kept = work.carts.lock(principal.subject)
            return work.carts.put(principal.subject, merged(kept.lines, work.carts.take_over(guest, principal.subject)))

    def _changed(self, sku: str, line: CartLine | None, etag: str) -> KeptCart:
        owner = current_call().principal.subject
        with self._work() as work:
            kept = work.carts.lock(owner)
            check_etag(etag, kept.version)
            lines = _with(kept, sku, line)
            _fits(lines)
            return kept if lines == kept.lines else work.carts.put(owner, lines)

    def _priced(self, kept: KeptCart) -> Cart:
        return priced(kept, self._offers(kept.skus), self._currency)

    def _offers(self, skus: Iterable[str]) -> dict[str, Offer]:
        wanted = sorted(set(skus))
        return self._products.offers(wanted) if wanted else {}


def _fits(lines: Sized) -> None:
    if len(lines) > MAX_LINES:
        raise CartFull(f"a cart has at most {MAX_LINES} lines")


def _with(kept: KeptCart, sku: str, line: CartLine | None) -> tuple[CartLine, ...]:
    """The lines with one of them set, in its place or at the end, or taken out."""
    if line is None:
        return tuple(each for each in kept.lines if each.sku != sku)
    if sku in kept.skus:
        return tuple(line if each.sku == sku else each for each in kept.lines)
    return (*kept.lines, line)
