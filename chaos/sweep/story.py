"""The stories that are swept: each a plot, and what goes wrong at its beginning, so that another way is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.sweep import house, orders
from chaos.sweep.town import Town

Plot = Callable[[Town], Iterator[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """A use case from its preparation to its end."""

    name: str
    plot: Plot
    upset: str = ""
    """A place that loses its answer once, at the beginning: what the caller's thread gave up is a worker's then."""


def _by_worker(plot: Plot, place: str) -> Story:
    return Story(f"{plot.__name__} after {place}", plot, place)


STORIES = (
    *(Story(plot.__name__, plot) for plot in (*orders.STORIES, *house.STORIES)),
    _by_worker(orders.placed_by_card, "order.PlaceOrder.call.ReserveStock.before"),
    _by_worker(orders.declined, "order.PlaceOrder.call.ReserveStock.before"),
    _by_worker(orders.placed_for_cash, "order.PlaceOrder.call.CreateShipment.before"),
    _by_worker(orders.cancelled, "order.CancelOrder.call.ReleaseReservation.before"),
    _by_worker(orders.picked_short, "order.FinishPicking.call.ReadyShipment.before"),
    _by_worker(orders.paid_with_another_card, "order.RetryPayment.call.AuthorizePayment.before"),
    _by_worker(orders.brought_at_the_second_try, "order.Redeliver.call.ConfirmSlot.before"),
    _by_worker(orders.given_back, "order.ApproveReturn.call.RestockReturn.before"),
    _by_worker(orders.never_brought, "payment.RefundPayment.call.provider.before"),
    _by_worker(orders.cancelled, "payment.VoidPayment.call.provider.before"),
)
