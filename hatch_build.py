"""The wheel's build hook: stubs are made from the contracts before anything is packed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools.stubs import BadContract, generate

# Folders beside the packages that a wheel carries within `mercato`; an editable install reads them where they are.
DATA = {"audits": "mercato/audits", "migrations": "mercato/migrations", "protos": "mercato/protos"}


class Stubs(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves its configuration class open
    """Generates the stubs, into the tree for an editable install and into the wheel for any other."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            generate(Path(self.root))
        except BadContract as refusal:
            sys.exit(f"protos/ cannot be built:\n{refusal}")
        if self.target_name == "wheel" and version != "editable":
            build_data["force_include"].update({str(Path(self.root) / here): there for here, there in DATA.items()})
