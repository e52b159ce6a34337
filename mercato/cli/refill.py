"""`mercato refill`: what a service has published, published once more."""

import psycopg
from rich.console import Console
from rich.progress import Progress

from mercato.cli.up import mesh
from mercato.errors import Unavailable
from mercato.kafka import Kafka
from mercato.local.table import SERVICES, Table
from mercato.local.trouble import Trouble
from mercato.refill import Refill


def refill(service: str) -> None:
    """Fill a service's topics from its journal."""
    here = mesh()
    if service not in (each.name for each in SERVICES):
        raise Trouble(f"There is no service {service!r}.", f"There are: {', '.join(each.name for each in SERVICES)}.")
    part = next(each for each in Table(here.home, here.settings).services() if each.name == service)
    console = Console(highlight=False)
    try:
        with psycopg.connect(part.slots[0].environment["MERCATO_DATABASE_URL"]) as connection:
            published = _shown(Refill(connection, Kafka(here.bootstrap)), service, console)
    except (psycopg.OperationalError, Unavailable) as problem:
        raise Trouble(
            f"It broke off: {problem}", "See mercato status; then do it again: nothing is lost by that."
        ) from None
    console.print(f"{published:,} events of {service} published once more; readers skip what they know.")


def _shown(refill: Refill, service: str, console: Console) -> int:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"filling the topics of {service}", total=refill.count())
        return refill.run(lambda events: progress.advance(task, events))
