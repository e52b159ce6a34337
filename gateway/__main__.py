"""The gateway as a process: `python -m gateway`."""

import asyncio
import sys

from gateway.config import GatewayConfig
from gateway.server import run
from mercato import log
from mercato.collector import settle
from mercato.config import BadSettings, Settings, load
from mercato.keys import UnfitKey


def main() -> int:
    """Read the settings and serve."""
    try:
        settings, config = load(Settings), load(GatewayConfig)
        settle()
        log.configure(settings.name, settings.log_level)
        asyncio.run(run(settings, config))
    except (BadSettings, UnfitKey) as problem:
        print(f"mercato: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
