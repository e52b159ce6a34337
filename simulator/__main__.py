"""Runs the provider: `python -m simulator`."""

from mercato import log
from mercato.config import load
from simulator.config import SimulatorConfig
from simulator.server import serve

if __name__ == "__main__":
    log.configure("simulator")
    serve(load(SimulatorConfig))
