"""A mesh of a benchmark's own, in a folder that goes when all went well; after a failure it stays to be looked at."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mercato.local.mesh import Mesh


@contextmanager
def own_mesh(name: str, environment: Mapping[str, str]) -> Iterator[Mesh]:
    """A mesh that runs within the block, with these settings."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    with Mesh(folder, environment=environment, follow=True) as mesh:
        yield mesh
    shutil.rmtree(folder, ignore_errors=True)
