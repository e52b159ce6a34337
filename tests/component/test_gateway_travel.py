"""The gateway's calls that travel together, in a process of their own: gRPC serves one event loop of a process well."""

import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).parent / "gateway" / "travel_cases.py"


def test_calls_of_the_gateway_travel_together_and_nobody_can_tell() -> None:
    command = [sys.executable, "-m", "pytest", "-q", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
