"""The typed stubs made from `protos/`: the one generator behind the wheel's build hook and `make protos`.

It writes `mercato/api/**`, `buf/validate/**` and, for messages that a service keeps to itself, `services/*/v1/**`, and
only when the contracts or the compilers changed. A contract that breaks a rule the whole system relies on (an rpc
without a policy, say) ends the build with a sentence.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILERS = ("grpcio-tools", "mypy-protobuf", "protovalidate", "googleapis-common-protos")
GENERATED = (Path("mercato/api"), Path("buf"), Path("services"))
VALIDATE = "buf/validate/validate.proto"
VALIDATE_STUB = "buf/validate/validate_pb2.py"
IMAGE = Path("mercato/api/contracts.binpb")
RULES = (Path(__file__), Path(__file__).with_name("contract.py"))


class BadContract(Exception):
    """Contracts that protoc refuses, or that leave open what has to be decided."""


@dataclass(frozen=True, slots=True)
class Protos:
    """The `.proto` files of a checkout."""

    folder: Path

    def names(self) -> list[str]:
        """The files as protoc names them: relative, sorted."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.proto"))

    def fingerprint(self) -> str:
        """A digest of all that the stubs follow from: contracts, compilers, and our own rules."""
        digest = hashlib.sha256()
        for path in [*(self.folder / name for name in self.names()), *RULES]:
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
        for compiler in COMPILERS:
            digest.update(f"{compiler} {importlib.metadata.version(compiler)}\n".encode())
        return digest.hexdigest()


def generate(root: Path = ROOT) -> bool:
    """Bring the stubs under `root` up to date; False when they were so already."""
    protos, mark = Protos(root / "protos"), root / "mercato/api/.fingerprint"
    with _alone(protos.folder):
        wanted = protos.fingerprint()
        if mark.is_file() and mark.read_text() == wanted and (root / VALIDATE_STUB).is_file():
            return False
        with tempfile.TemporaryDirectory(prefix="stubs-") as scratch:
            made = Path(scratch) / "made"
            _compile(protos, made, Path(scratch))
            _replace(made, root)
        mark.write_text(wanted)
    return True


def image(protos: Path, target: Path, *, comments: bool = True) -> None:
    """Write every contract and its imports as one FileDescriptorSet to `target`."""
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        _write_image(Protos(protos), target, Path(scratch), comments=comments)


def _compile(protos: Protos, made: Path, scratch: Path) -> None:
    """Check the contracts, then generate messages, services and the types of both into `made`."""
    from tools.contract import check  # only here: `protos.fingerprint` must not pay for protobuf

    _write_image(protos, scratch / "image.binpb", scratch, comments=True)
    if complaints := check(scratch / "image.binpb", protos.names()):
        raise BadContract("\n".join(complaints))
    made.mkdir()
    outputs = [f"--{kind}_out={made}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [_plugin(scratch, "mypy", "main"), _plugin(scratch, "mypy_grpc", "grpc")]
    _protoc(protos, scratch, [*plugins, *outputs, *protos.names(), VALIDATE])
    # The contracts with their comments, which the stubs lack: what the gateway's documents are written from.
    shutil.copyfile(scratch / "image.binpb", made / IMAGE)


def _write_image(protos: Protos, target: Path, scratch: Path, *, comments: bool = False) -> None:
    """Compile `protos` to a FileDescriptorSet with imports and, on demand, comments."""
    sources = ["--include_source_info"] if comments else []
    _protoc(protos, scratch, ["--include_imports", *sources, f"--descriptor_set_out={target}", *protos.names()])


def _protoc(protos: Protos, scratch: Path, arguments: Sequence[str]) -> None:
    """Run the bundled protoc over `protos`, with every import that a contract may use."""
    import google.api.annotations_pb2 as annotations
    import grpc_tools

    folders = [protos.folder, Path(annotations.__file__).parents[2], Path(grpc_tools.__path__[0]) / "_proto"]
    known = scratch / "validate.binpb"
    known.write_bytes(_validate_descriptors())
    includes = [f"--proto_path={folder}" for folder in folders]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, f"--descriptor_set_in={known}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode:
        raise BadContract(done.stderr.strip() or f"protoc ended with {done.returncode}")


def _validate_descriptors() -> bytes:
    """`buf/validate/validate.proto` and what it imports, compiled.

    The protovalidate wheel ships no `.proto` file, but has the compiled one within; the name is private, hence the
    upper bound on the version in pyproject.toml.
    """
    from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
    from protovalidate._gen.buf.validate import validate_pb

    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    files.file.add().ParseFromString(validate_pb._DESC.proto.to_binary())
    return files.SerializeToString()


def _plugin(scratch: Path, output: str, function: str) -> str:
    """The protoc option that has `--<output>_out` made by a function of mypy-protobuf under this interpreter.

    Not the installed script: which environment's script stands first on the path differs between an isolated build, a
    build without isolation and a plain run, and its first line breaks in a folder with a space or a long name.
    """
    launcher = scratch / f"protoc-gen-{output}"
    code = f"from mypy_protobuf.main import {function}; {function}()"
    launcher.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)}\n")
    launcher.chmod(0o755)
    return f"--plugin={launcher.name}={launcher}"


def _environment() -> dict[str, str]:
    """This process's environment, its import path included, for the compilers that it starts."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def _replace(made: Path, root: Path) -> None:
    """Put the new files in place one by one, leaving equal ones untouched, and take away what is no longer made."""
    new = {path.relative_to(made): path for path in made.rglob("*") if path.is_file()}
    for relative, path in new.items():
        target = root / relative
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}.new")
            beside.write_bytes(path.read_bytes())
            beside.replace(target)
    (root / VALIDATE_STUB).with_name("py.typed").touch()
    for folder in GENERATED:
        for old in (root / folder).rglob("*_pb2*.py*"):
            if old.suffix in {".py", ".pyi"} and old.relative_to(root) not in new:
                old.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder: two terminals may both say `make protos`."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def main() -> int:
    """Generate, and say so; nothing to do is nothing to say."""
    try:
        if generate():
            print("Stubs generated from protos/.")
    except BadContract as refusal:
        print(f"protos/ cannot be built:\n{refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
