"""What buf judges: the contracts' style, and whether they break whoever was built on the committed baseline.

`protos/baseline.binpb` is the image of the contracts as last accepted; `make baseline` renews it, on purpose only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.stubs import ROOT, BadContract, image

PROTOS = ROOT / "protos"
BASELINE = PROTOS / "baseline.binpb"


def lint(protos: Path = PROTOS, baseline: Path = BASELINE) -> list[str]:
    """Buf's complaints about style, then about compatibility with the baseline."""
    with tempfile.TemporaryDirectory(prefix="contracts-") as scratch:
        current = Path(scratch) / "current.binpb"
        image(protos, current)
        style = _buf("lint", str(current))
        breaking = _buf("breaking", str(current), "--against", str(baseline))
    return [*style, *(f"breaks clients: {line}" for line in breaking)]


def _buf(verb: str, *arguments: str) -> list[str]:
    """The lines that one buf command complains with."""
    command = [str(Path(sys.executable).with_name("buf")), verb, *arguments, "--config", str(PROTOS / "buf.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def main(command: str) -> int:
    """`lint` judges, `baseline` accepts the contracts as they are."""
    try:
        if command == "baseline":
            image(PROTOS, BASELINE, comments=False)
            return 0
        complaints = lint()
    except BadContract as refusal:
        complaints = [str(refusal)]
    print("\n".join(complaints) or "contracts: clean, and compatible with the baseline")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
