"""The gateway as a process: `python -m gateway`."""

import asyncio
import sys

from gateway.config import GatewayConfig
from gateway.server import run
from mercato import log
from mercato.auth import UnfitKey
from mercato.config import BadSettings, Settings, load


def main() -> int:
    """Read the settings and serve."""
    try:
        settings, config = load(Settings), load(GatewayConfig)
        log.configure(settings.name, settings.log_level)
        asyncio.run(run(settings, config))
    except (BadSettings, UnfitKey) as problem:
        print(f"mercato: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
