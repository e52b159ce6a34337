"""The till: baskets are decided one after the other, in the order in which they came, on levels that are locked."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from services.inventory.domain import Basket, Change, Ledger, each_once, shortage
from services.inventory.refusals import OutOfStock, UnknownWarehouse
from services.inventory.reservation import Reservation, State


class Till:
    """Takes what it can for each basket: greedy, so that who came earlier is never refused for who came later."""

    def __init__(
        self,
        ledger: Ledger,
        earlier: Mapping[UUID, Reservation],
        warehouses: Collection[str],
        expire_time: datetime,
    ) -> None:
        """Decide on these levels, with these reservations and warehouses known; holds last until `expire_time`."""
        self.ledger = ledger
        self.held: list[Reservation] = []
        self._known = dict(earlier)
        self._warehouses = warehouses
        self._expire_time = expire_time

    def serve(self, basket: Basket) -> tuple[Reservation, list[Change]]:
        """Hold all lines in the first warehouse that has them; of what is held already, nothing changes.

        InvalidArgument, ReservationReleased, UnknownWarehouse, OutOfStock.
        """
        each_once(basket.claims)
        earlier = self._known.get(basket.reservation_id)
        if earlier and (answer := earlier.again()):
            return answer, []
        reservation = Reservation(
            basket.reservation_id,
            basket.order_id,
            self._choose(basket),
            State.HELD,
            basket.claims,
            self._expire_time,
            earlier.version + 1 if earlier else 1,
        )
        self._known[reservation.id] = reservation
        self.held.append(reservation)
        return reservation, reservation.take(self.ledger)

    def _choose(self, basket: Basket) -> str:
        for warehouse_id in basket.warehouses:
            if warehouse_id not in self._warehouses:
                raise UnknownWarehouse(warehouse_id)
        for warehouse_id in basket.warehouses:
            if self.ledger.serves(warehouse_id, basket.claims):
                return warehouse_id
        raise OutOfStock(shortage(basket.claims, basket.warehouses, self.ledger.available))
