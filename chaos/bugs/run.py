"""Runs a module of ours with a bug in it: `MERCATO_SEEDED_BUG=no_tombstone python -m chaos.bugs.run services.order`."""

import runpy
import sys

from chaos.bugs.catalogue import edits_of
from chaos.bugs.seeding import sow
from mercato.config import surroundings

VARIABLE = "MERCATO_SEEDED_BUG"

if __name__ == "__main__":
    if name := surroundings().get(VARIABLE):
        sow(edits_of(name))
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
