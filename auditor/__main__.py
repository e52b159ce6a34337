"""The auditor as a process: `python -m auditor`."""

from auditor.app import build
from auditor.config import AuditorConfig
from mercato.runtime import run

if __name__ == "__main__":
    run(build, AuditorConfig)
