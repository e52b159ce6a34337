"""`mercato nemesis`: people use a mesh of its own while it is being broken, and then everything is checked."""

from pathlib import Path

from rich.console import Console


def torment(seed: int, seconds: float, shoppers: int, folder: Path | None) -> int:
    """Run it; the exit status."""
    from chaos.nemesis.run import Nemesis, Plan
    from mercato.cli.up import wide

    plan = Plan(seed, seconds, shoppers, folder=folder)
    return 0 if Nemesis(plan, wide(Console())).run() else 1
