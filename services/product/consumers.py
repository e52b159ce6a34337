"""Inventory's events, as far as they say how much there is."""

from collections.abc import Sequence

from mercato.consumer import Delivery, Handle
from services.product import messages
from services.product.store import ProductWork
from services.product.usecases import StockHints

AVAILABILITY = "product.availability"  # the name of the position: renaming it reads everything again


def follow_stock(hints: StockHints) -> Handle:
    """What to do with a batch of inventory's events: all of it in one statement."""

    def follow(work: ProductWork, deliveries: Sequence[Delivery]) -> None:
        hints.follow(work, [level for delivery in deliveries for level in messages.levels(delivery.event)])

    return follow
