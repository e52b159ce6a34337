"""Set forms: calls of one rpc that came in one message, done as one piece of work.

A servicer names them beside its handlers, by their rpc, which must be one that travels together:

    class InventoryServicer:
        contract = …

        @property
        def together(self) -> Mapping[str, SetForm]:
            return {"ReserveStock": self.reserve_stock}

        def reserve_stock(self, items: Sequence[Item]) -> Sequence[pb.Reservation | Exception]:
            turns = [Turn(messages.basket(item.request), item.call, item.context) for item in items]
            return list(map(_told, self._reserving.do_all(turns)))

What it is given was let in already, each by its own token, policy, rules and deadline; there are at least two. It
answers with as many outcomes, in their order: a reply, or the exception that the handler would have raised. Its own
`current_call()` is nobody's, and lasts as long as the most patient of them; `Item.run` does something in the name of
one: what is published then carries that call's ids, and what it `wrote` travels back with its reply.

A set form that raises has done nothing: each is then done alone, by the handler. Only silence (Unavailable,
DeadlineExceeded) is passed on to all, for nobody knows what became of it. Without a set form, the calls are answered
by as many threads as there are free ones: most handlers wait for a database, and waiting needs no processor.
"""

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from mercato.rpc.call import Call

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a set: what it asks for, the call itself, and the context that work for it is done in."""

    request: Any
    call: Call
    context: Context

    def run(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do something in the call's name."""
        return self.context.run(act, *args, **kwargs)


SetForm = Callable[[Sequence[Item]], Sequence[Any]]
