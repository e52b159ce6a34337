"""The user service as a process."""

from mercato.runtime import run
from services.user.app import build
from services.user.config import UserConfig

if __name__ == "__main__":
    run(build, UserConfig)
