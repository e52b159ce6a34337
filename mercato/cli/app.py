"""The commands of `mercato`, one function each; what they do lies in the modules beside this one."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="""A grocery shop as a mesh of services, on this machine.

    Begin with `mercato up`, look with `mercato status` and `mercato logs -f order`, see an order go through it with
    `mercato demo`, watch Kafka with `mercato events -f`, end with `mercato down`: nothing is lost.

    State lies in MERCATO_HOME (default .mercato), the gateway listens on MERCATO_PORT (default 8080). Servers that are
    named win over our own: MERCATO_DATABASE_URL, MERCATO_REDIS_URL, MERCATO_KAFKA_BOOTSTRAP.
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

projections = typer.Typer(
    help="Read models that follow the events: how far they have come, rebuilt, compared with a replay.",
    no_args_is_help=True,
)
app.add_typer(projections, name="projections")
dlq = typer.Typer(
    help="Dead letters: events that a service could not apply, and the later ones that wait behind them.",
    no_args_is_help=True,
)
app.add_typer(dlq, name="dlq")
orders = typer.Typer(help="Orders that cannot go on by themselves.", no_args_is_help=True)
app.add_typer(orders, name="orders")
keys = typer.Typer(help="The keys by which processes know each other.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Name = Annotated[str, typer.Argument(help="A process, as `mercato status` names it: order, kafka, order-2 …")]


@app.command()
def up() -> None:
    """Start everything, and return when all is ready. Again: restart what runs older code, or do nothing.

    Starts PostgreSQL, Valkey and Kafka, makes keys, tables and topics, starts the services and the gateway, fills the
    shop the first time. What runs goes on when the terminal is closed.
    """
    from mercato.cli.up import bring_up

    bring_up()


@app.command()
def down() -> None:
    """Stop everything, within ten seconds. Every order is there again after the next `up`."""
    from mercato.cli.up import take_down

    take_down()


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="A list for programs, instead of a table.")] = False,
) -> None:
    """Show every process: how it does, where it listens, its memory, how long it took to start."""
    from mercato.cli.status import show_json, show_table

    show_json() if json else show_table()


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="One process; all of them where none is named.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines to begin with.")] = 20,
) -> None:
    """Print the logs: one JSON object a line for our own processes, with the request and order that it is about."""
    from mercato.cli.logs import show

    show(name, follow, lines)


@app.command()
def stop(name: Name) -> None:
    """Stop one process and keep it stopped: see what the others do without it."""
    from mercato.cli.up import mesh

    mesh().stop(name)


@app.command()
def start(name: Name) -> None:
    """Start one process that was stopped, and wait until it is ready."""
    from mercato.cli.up import mesh

    mesh().start(name)


@app.command()
def restart(name: Name) -> None:
    """Restart one process. A service's new process is ready before the old one is drained: no call is lost."""
    from mercato.cli.up import mesh

    mesh().restart(name)


@app.command()
def seed() -> None:
    """Fill the shop: the catalogue, stock, zones, slots, couriers and one account for each role. Repeatable."""
    from mercato.cli.shop import seed_shop
    from mercato.cli.up import mesh

    seed_shop(mesh())


@app.command()
def demo(
    orders: Annotated[int, typer.Option(help="Replay this many real baskets instead of playing one shopper.")] = 0,
    concurrency: Annotated[int, typer.Option(help="How many of them at the same time.")] = 8,
) -> None:
    """Play one shopper and the staff through the gateway, step by step; or replay real baskets and measure.

    Ends with status 1 where anything is not as promised.
    """
    from mercato.cli.shop import perform
    from mercato.cli.up import mesh

    raise typer.Exit(perform(mesh(), orders, concurrency))


@app.command()
def migrate() -> None:
    """Bring the tables of MERCATO_DATABASE_URL (or of the mesh that runs here) up to date. Runs once, whoever calls."""
    from mercato.cli.migrate import run

    run()


@app.command()
def nemesis(
    seed: Annotated[int, typer.Option(help="Draws the schedule of faults: the same seed, the same schedule.")] = 1,
    seconds: Annotated[float, typer.Option(help="For how long people shop while things fail.")] = 120.0,
    shoppers: Annotated[int, typer.Option(help="How many of them, beside the staff.")] = 8,
    folder: Annotated[
        Path | None, typer.Option(help="Where the mesh and the history lie; a new folder by default.")
    ] = None,
) -> None:
    """Break a mesh of its own on purpose while people use it, heal it, and check that everything adds up.

    Processes (PostgreSQL, Valkey and Kafka among them) are killed and stopped, connections cut, delayed, held up and
    half closed, by a schedule that is printed first. Ends with status 1 where an invariant does not hold.
    """
    from mercato.cli.nemesis import torment

    raise typer.Exit(torment(seed, seconds, shoppers, folder))


@app.command()
def token(
    service: Annotated[str, typer.Argument(help="Whom to call: product, inventory, order, payment, delivery, user.")],
    roles: Annotated[str, typer.Option("--as", help="Roles of the end user, separated by commas; none: nobody.")] = "",
    subject: Annotated[str, typer.Option(help="The id of the end user.")] = "",
) -> None:
    """Print a token with which an operator may call one service for a minute, past the gateway.

    For example, with the address that `mercato status` shows for product:

    buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $(mercato token product)"
    -d '{"page_size": 3}' http://127.0.0.1:PORT/mercato.api.product.v1.ProductService/ListProducts
    """
    from mercato.cli.token import sign
    from mercato.cli.up import mesh

    print(sign(mesh().home.keys, service, roles, subject))


@app.command()
def routes() -> None:
    """List what the gateway serves, as the contracts say it: method, path, rpc, and who may call it."""
    from mercato.cli.routes import show

    show()


@app.command()
def events(
    topic: Annotated[str, typer.Option(help="One service's events: order, payment …; all where none is named.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes from now on.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", help="How many of each partition to begin with.")] = 10,
) -> None:
    """Print the public events that Kafka carries, decoded: time, type, aggregate, version and content."""
    from mercato.cli.events import show
    from mercato.cli.up import mesh

    show(mesh(), topic, follow=follow, last=last)


@app.command()
def refill(
    service: Annotated[str, typer.Argument(help="Whose topics: product, inventory, order, payment, delivery, user.")],
) -> None:
    """Publish once more what a service published in the last week: for a topic that was lost.

    Readers skip what they know, so it may be done at any time, and again.
    """
    from mercato.cli.refill import refill as run

    run(service)


@app.command()
def audit(
    repair: Annotated[
        bool, typer.Option("--repair", help="Have put right what safely can be, and look again.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="A report for programs, instead of a table.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, once a minute.")] = False,
) -> None:
    """Compare what all services, the books and the provider's log say. Ends with status 1 where they disagree.

    Each finding names the rule (a file in audits/ says what must hold), what it is about, and how it is put right.
    """
    from mercato.cli.audit import audit as run

    raise typer.Exit(run(repair=repair, as_json=json, watch=watch))


Projection = Annotated[str, typer.Argument(help="A projection, as `mercato projections list` names it: order.list …")]


@projections.command("list")
def list_projections() -> None:
    """Show every projection: its state, the last event that it took in, and how far it is behind."""
    from mercato.cli.projections import show

    show()


@projections.command()
def rebuild(name: Projection) -> None:
    """Replay all events into new rows beside those that are read, then swap them in one transaction: no read fails."""
    from mercato.cli.projections import act

    raise typer.Exit(act("rebuild", name))


@projections.command()
def verify(name: Projection) -> None:
    """Compare every row with a replay of its events. Ends with status 1 where one differs."""
    from mercato.cli.projections import act

    raise typer.Exit(act("verify", name))


Service = Annotated[str, typer.Argument(help="A service: product, inventory, order, payment, delivery, user.")]
DeadLetter = Annotated[str, typer.Argument(help="A dead letter, as `mercato dlq list` numbers it.")]


@dlq.command("list")
def list_dead_letters(
    service: Annotated[str, typer.Argument(help="One service; all of them where none is named.")] = "",
) -> None:
    """Show what is parked: the event, why it was refused, or behind which one it waits."""
    from mercato.cli.dlq import show
    from mercato.cli.up import mesh

    show(mesh(), service)


@dlq.command("show")
def show_dead_letter(service: Service, number: DeadLetter) -> None:
    """Show one with its headers and its content."""
    from mercato.cli.dlq import show_one
    from mercato.cli.up import mesh

    show_one(mesh(), service, number)


@dlq.command()
def redrive(service: Service, number: DeadLetter) -> None:
    """Apply one and all that waits behind it, in order. Ends with status 1 where one is refused again."""
    from mercato.cli.dlq import redrive as drive
    from mercato.cli.up import mesh

    raise typer.Exit(drive(mesh(), service, number))


@dlq.command()
def discard(service: Service, number: DeadLetter) -> None:
    """Give one up for good, and apply what waited behind it. Ends with status 1 where something still waits."""
    from mercato.cli.dlq import discard as give_up
    from mercato.cli.up import mesh

    raise typer.Exit(give_up(mesh(), service, number))


@orders.command()
def stuck() -> None:
    """Show the orders that wait for a person: since when, for what, what the last try came to, and what to do."""
    from mercato.cli.orders import show_stuck
    from mercato.cli.up import mesh

    show_stuck(mesh())


@orders.command()
def retry(order: Annotated[str, typer.Argument(help="The id of an order.")]) -> None:
    """Have what neighbours did not do for an order tried again now, or its payment by the same means."""
    from mercato.cli.orders import retry as try_again
    from mercato.cli.up import mesh

    try_again(mesh(), order)


@keys.command()
def rotate(
    names: Annotated[list[str] | None, typer.Argument(help="Whose: order, gateway … Everybody's by default.")] = None,
) -> None:
    """Give processes other keys while they run: no call is refused. What was signed before holds for a minute more."""
    from mercato.cli.keys import rotate_keys
    from mercato.cli.up import mesh

    rotate_keys(mesh().home.keys, names or [])
