"""`mercato demo`: the shop at work, for somebody who watches. Both forms say whether all was as promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shop.baskets import read
from shop.progress import Stages
from shop.replay import Replay, Tally
from shop.rest import Refused, Visitor
from shop.shopper import Broken, Shopper, Step
from shop.tape import Carried, Tape

_SHOWN = 5
"""How many broken promises are printed one by one."""

_LONGEST_WORD = len("mercato.inventory.v1:")
"""What the column of events has room for in any terminal: no topic and no event is longer."""
_FURNITURE = 40
"""Columns that steps, milliseconds and lines take; outcomes and events share the rest."""


def play(url: str, password: str, bootstrap: str, console: Console) -> bool:
    """One shopper and the staff, step by step, with the events that Kafka carried."""
    table = _steps(console.width)
    trouble = ""
    try:
        with Tape(bootstrap) as tape, console.status("the shop is at work …"):
            Shopper(partial(Visitor, url), password, tape, lambda step: _add(table, step)).play()
    except (Broken, Refused, httpx.TransportError) as broken:
        trouble = str(broken) or repr(broken)
    console.print(table)
    if trouble:
        console.print(Text(f"Not as promised: {trouble}", style="bold red"))
    return not trouble


def replay(url: str, orders: int, concurrency: int, console: Console) -> bool:
    """Real baskets, ordered by several shoppers at once."""
    stages = Stages(console)
    with stages.stage("read the baskets of 2017"):
        baskets = read()
    stages.say(f"  {len(baskets.baskets):,} baskets; {baskets.emptied:,} had nothing that can be ordered")
    stages.say(f"  lines left out: {_counts(baskets.left_out)}")
    with stages.stage(f"order {orders} of them, {concurrency} at a time", orders) as advance:
        tally = Replay(partial(Visitor, url), baskets.baskets, orders, concurrency).run(advance)
    console.print(_figures(tally, orders))
    for broken in tally.broken[:_SHOWN]:
        console.print(Text(f"Not as promised: {broken}", style="bold red"))
    if len(tally.broken) > _SHOWN:
        console.print(Text(f"… and {len(tally.broken) - _SHOWN} more", style="bold red"))
    return tally.kept


def _steps(width: int) -> Table:
    table = Table(title="One order, from the shelf to the door", show_lines=True)
    table.add_column("step", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("events by Kafka", width=max(_LONGEST_WORD, (width - _FURNITURE) // 2))
    return table


def _add(table: Table, step: Step) -> None:
    table.add_row(step.name, step.outcome, f"{step.seconds * 1000:,.0f}", _by_topic(step.events))


def _by_topic(events: Sequence[Carried]) -> str:
    """The events of each topic, in the order in which they came."""
    topics: dict[str, list[str]] = {}
    for event in events:
        topics.setdefault(event.topic, []).append(event.name)
    return "\n".join(f"{topic}: {', '.join(names)}" for topic, names in topics.items())


def _figures(tally: Tally, orders: int) -> Table:
    table = Table(title=f"{orders} orders", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    rate = len(tally.seconds) / tally.took if tally.took else 0.0
    table.add_row("orders/s", f"{rate:,.1f}")
    for name, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99)):
        table.add_row(f"{name} of POST /v1/orders", f"{tally.quantile(share) * 1000:,.0f} ms")
    table.add_row("confirmed", f"{tally.confirmed:,}")
    table.add_row("of these first answered 202", f"{tally.pending:,}")
    table.add_row("refused", _counts(tally.refused))
    table.add_row("asked twice with one key, same order", f"{tally.asked_twice:,}")
    table.add_row("not as promised", f"{len(tally.broken):,}")
    return table


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common()) or "none"
