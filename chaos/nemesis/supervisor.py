"""The supervisor of a mesh whose connections go through proxies: `python -m chaos.nemesis.supervisor`."""

from chaos.nemesis.links import refit
from mercato.local.supervisor import main

if __name__ == "__main__":
    main(refit)
