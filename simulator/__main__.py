"""Runs the provider: `python -m simulator`. With the log of one at rest, `python -m simulator LOG` prints what moved.

MERCATO_SIMULATOR_* are its settings.
"""

import sys
from pathlib import Path

from mercato import log
from mercato.config import load
from simulator.audit import read
from simulator.config import SimulatorConfig
from simulator.server import serve

if __name__ == "__main__":
    if named := sys.argv[1:]:
        sys.stdout.buffer.writelines(read(Path(named[0])))
    else:
        log.configure("simulator")
        serve(load(SimulatorConfig))
