"""New orders, written alone or with others that come at the same moment: each whole, or not at all.

An order's events, view, process, personal part and key stand or fall together, under a lock on its customer: a dozen
statements and a commit, however many orders they are about.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from mercato.errors import MercatoError, NotFound
from mercato.group_commit import GroupCommit, Turn
from mercato.rpc import Key
from services.order.carts import CartRead
from services.order.changes import Change, Changes
from services.order.events import OrderPlaced
from services.order.holding import Caps, Standing
from services.order.personal import Personal
from services.order.store import OrderWork


class CartChanged(Exception):
    """The cart is not what was priced any more."""


class KeyUsed(Exception):
    """One of several orders has been placed before, or twice at once: each is to be looked at alone."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that is to be, with all that stands or falls with it."""

    placed: OrderPlaced
    personal: Personal
    cart: CartRead | None
    key: Key | None
    lease: timedelta


Outcome = Change | MercatoError | CartChanged


class Placing:
    """Writes new orders."""

    def __init__(self, work: Callable[[], OrderWork], changes: Changes, caps: Caps) -> None:
        self._work = work
        self._changes = changes
        self._caps = caps
        self.group = GroupCommit(self._alone, self._together)

    def place(self, new: NewOrder) -> Change:
        """Write an order; if its key has made one before, that one. CartChanged, TooMuchHeld, NotFound."""
        return self.group.do(new)

    def _alone(self, new: NewOrder) -> Change:
        with self._work() as work:
            if earlier := work.idempotency.find(new.key, str(new.placed.order_id)):
                return Change(self._changes.load(work, UUID(earlier)))
            [outcome] = self._written(work, [Turn.of(new)])
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    def _together(self, turns: Sequence[Turn[NewOrder]]) -> list[Outcome]:
        with self._work() as work:
            keyed = [turn.item for turn in turns if turn.item.key]
            making = {new.key: str(new.placed.order_id) for new in keyed if new.key}
            if len(making) < len(keyed) or not work.idempotency.claim(making):
                raise KeyUsed
            outcomes = self._written(work, turns)
            # A refused request does not use its key up.
            refused = [turn.item.key for turn, each in zip(turns, outcomes, strict=True) if isinstance(each, Exception)]
            work.idempotency.release([key for key in refused if key])
            return outcomes

    def _written(self, work: OrderWork, turns: Sequence[Turn[NewOrder]]) -> list[Outcome]:
        """What becomes of orders whose keys are claimed: those that come first hold what they hold."""
        standings = work.personal.standings(turn.item.placed.customer_id for turn in turns)
        outcomes: dict[Turn[NewOrder], Outcome] = {}
        for turn in turns:
            customer_id = turn.item.placed.customer_id
            try:
                standings[customer_id] = self._admitted(work, turn.item, standings[customer_id])
            except (MercatoError, CartChanged) as refusal:
                outcomes[turn] = refusal
        drafts = {
            turn: turn.run(self._changes.begin, turn.item.placed, turn.item.lease)
            for turn in turns
            if turn not in outcomes
        }
        outcomes |= dict(zip(drafts, self._changes.write(work, list(drafts.values())), strict=True))
        work.personal.put((draft.order, turn.item.personal) for turn, draft in drafts.items())
        return [outcomes[turn] for turn in turns]

    def _admitted(self, work: OrderWork, new: NewOrder, standing: Standing) -> Standing:
        """How the customer stands with the order."""
        units = sum(line.quantity for line in new.placed.lines)
        if standing.erased:
            raise NotFound
        self._caps.check(standing, units)
        if new.cart and not work.carts.empty(str(new.placed.customer_id), new.cart.version):
            raise CartChanged
        return replace(standing, orders=standing.orders + 1, units=standing.units + units)
