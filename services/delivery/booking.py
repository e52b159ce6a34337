"""Places in slots: who asked earlier gets one, as long as there are any. Decided on slots that are locked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.delivery.domain import Hold, HoldState, SlotClosed, SlotFull


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order asks for: a place of a slot, under an id that it chose."""

    hold_id: UUID
    order_id: UUID
    slot_id: UUID


@dataclass(slots=True)
class Room:
    """What a slot still takes; `open` as long as it takes anybody at all."""

    slot_id: UUID
    left: int
    open: bool


class Booking:
    """Gives places away, one after the other."""

    def __init__(self, rooms: Iterable[Room], earlier: Mapping[UUID, Hold], expire_time: datetime) -> None:
        """Give away what is in these rooms, with these holds known; new ones last until `expire_time`."""
        self.held: list[Hold] = []
        self._rooms = {room.slot_id: room for room in rooms}
        self._known = dict(earlier)
        self._expire_time = expire_time

    def serve(self, wanted: Wanted) -> Hold:
        """Hold a place; one that is held already stays as it is. HoldReleased, SlotClosed, SlotFull."""
        earlier = self._known.get(wanted.hold_id)
        if earlier and earlier.state is not HoldState.EXPIRED:
            return earlier.again()
        self._take(wanted.slot_id)
        version = earlier.version + 1 if earlier else 1
        hold = Hold(wanted.hold_id, wanted.order_id, wanted.slot_id, HoldState.HELD, self._expire_time, version)
        self._known[hold.id] = hold
        self.held.append(hold)
        return hold

    def _take(self, slot_id: UUID) -> None:
        room = self._rooms.get(slot_id)
        if room is None or not room.open:
            raise SlotClosed
        if room.left <= 0:
            raise SlotFull(slot_id)
        room.left -= 1
