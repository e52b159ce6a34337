"""How a bug gets into a build: the text of a module is changed on its way from the file to the compiler."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mercato.local.home import PROJECT


class Rotten(ImportError):
    """A bug's text is not found exactly once: the code has moved on, and the bug must follow."""

    def __init__(self, edit: Edit, times: int) -> None:
        super().__init__(f"{edit.module} holds {times} times, not once: {edit.old!r}")


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of a module, and what stands there instead."""

    module: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        """The file of the module."""
        path = PROJECT.joinpath(*self.module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def applied(self, source: str) -> str:
        """The source with the change. Rotten."""
        if (times := source.count(self.old)) != 1:
            raise Rotten(self, times)
        return source.replace(self.old, self.new)


class Seeded(SourceFileLoader):
    """Loads a module with its text changed; what was compiled before is not looked at."""

    edits: Sequence[Edit] = ()

    def get_code(self, fullname: str) -> CodeType:
        """The code of the changed text."""
        source = Path(self.path).read_text()
        for edit in self.edits:
            source = edit.applied(source)
        print(planted(fullname), file=sys.stderr, flush=True)
        return compile(source, self.path, "exec", dont_inherit=True)


class Sower(MetaPathFinder):
    """Finds the modules that are to be changed, before anybody else does."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in edits:
            self._edits.setdefault(edit.module, []).append(edit)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that changes it."""
        edits = self._edits.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if edits else None
        if spec and spec.origin and edits:
            loader = Seeded(fullname, spec.origin)
            loader.edits = edits
            spec.loader = loader
        return spec


def planted(module: str) -> str:
    """The line by which a process says that it runs a changed module."""
    return f"a bug is planted in {module}"


def sow(edits: Iterable[Edit]) -> None:
    """Change these modules in this process, when they are imported."""
    sower = Sower(edits)
    sys.meta_path.insert(0, sower)


def sources(edits: Iterable[Edit]) -> Mapping[str, str]:
    """The changed text of each module. Rotten."""
    changed: dict[str, str] = {}
    for edit in edits:
        changed[edit.module] = edit.applied(changed.get(edit.module) or edit.path.read_text())
    return changed
