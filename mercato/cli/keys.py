"""`mercato keys`: other keys for processes that run."""

from collections.abc import Sequence
from pathlib import Path

from mercato.keys import UnfitKey
from mercato.local.trouble import Trouble
from mercato.rotation import rotate_all


def rotate_keys(folder: Path, names: Sequence[str]) -> None:
    """Rotate the keys of some processes, or of all that have one. Trouble if there are none."""
    known = sorted(path.stem for path in (folder / "private").glob("*.pem"))
    if unknown := sorted(set(names) - set(known)) or (not known and ["anybody"]):
        raise Trouble(f"There are no keys of {', '.join(unknown)} in {folder}.", "Make what is missing: mercato up.")
    try:
        for name, kid in rotate_all(folder, names or known).items():
            print(f"{name:<12} {kid}")
    except UnfitKey as unfit:
        raise Trouble(str(unfit), "Make what is missing: mercato up.") from unfit
