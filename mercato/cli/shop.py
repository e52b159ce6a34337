"""`mercato seed` and `mercato demo`: the demo shop, played against the mesh of this machine."""

from rich.console import Console

from mercato.auth import Signer
from mercato.collector import settle
from mercato.local.mesh import Mesh
from mercato.rpc.channel import Channels


def seed_shop(here: Mesh) -> None:
    """Fill the shop through the services' own contracts, as the operator."""
    from shop.progress import Stages
    from shop.seed import Seed

    settle()
    password = here.settings.demo_password.reveal() or here.demo_password
    channels = Channels(Signer.load(here.home.keys, "operator"), here.targets)
    stages = Stages(Console())
    try:
        seeded = Seed(channels, password, stages).run()
    finally:
        channels.close()
    for line in seeded.dirt:
        stages.say(f"  {line}")
    stages.say(str(seeded))
    here.keep_seeded(password)


def perform(here: Mesh, orders: int, concurrency: int) -> int:
    """Play one shopper, or replay baskets; the exit status."""
    from shop.demo import play, replay

    console = Console()
    if orders:
        kept = replay(here.url, orders, concurrency, console)
    else:
        kept = play(here.url, here.demo_password, here.bootstrap, console)
    return 0 if kept else 1
