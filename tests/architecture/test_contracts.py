"""The contracts: every rpc is decided on, and what is decided is kept by whoever builds or changes them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from mercato.api.policy.v1 import policy_pb2
from tools import compatibility, stubs

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"

SAMPLE = """
syntax = "proto3";
package mercato.api.sample.v1;
import "mercato/api/policy/v1/policy.proto";
// A thing.
message Thing {{
  // Whose it is.
  string owner_id = 1;
}}
// What is to be made.
message MakeThingRequest {{
  // Whose it is.
  string owner_id = 1;
  // Not a string.
  int32 count = 2;
}}
// Things.
service ThingService {{
  // Makes one.
  rpc MakeThing(MakeThingRequest) returns (Thing) {{ {option} }}
}}
"""


def _rpcs() -> Iterator[MethodDescriptor]:
    for path in sorted((ROOT / "protos").rglob("*.proto")):
        module = path.relative_to(PROTOS).as_posix().removesuffix(".proto").replace("/", ".") + "_pb2"
        for service in importlib.import_module(module).DESCRIPTOR.services_by_name.values():
            yield from service.methods


@pytest.mark.parametrize("rpc", list(_rpcs()), ids=lambda rpc: rpc.full_name.removeprefix("mercato.api."))
def test_every_rpc_has_a_policy(rpc: MethodDescriptor) -> None:
    assert rpc.GetOptions().HasExtension(policy_pb2.policy)


def _sample(folder: Path, option: str) -> Path:
    """A copy of the policy's contract beside one of our own with this option on its only rpc."""
    shutil.copytree(PROTOS / "mercato/api/policy", folder / "protos/mercato/api/policy")
    sample = folder / "protos/mercato/api/sample/v1/sample.proto"
    sample.parent.mkdir(parents=True)
    sample.write_text(SAMPLE.format(option=option))
    return folder


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("", "rpc mercato.api.sample.v1.ThingService/MakeThing has no policy"),
        ("{}", "lets nobody call it"),
        ('{access: {anyone: true}, idempotent_by: "owner"}', 'idempotent_by "owner"'),
        ('{access: {anyone: true}, idempotent_by: "count"}', 'idempotent_by "count"'),
        ('{access: {own: {fields: ["owner"]}}}', 'access.own.fields "owner"'),
        ('{access: {anyone: true}, served_by: "count"}', 'served_by "count"'),
    ],
)
def test_a_contract_that_leaves_something_open_is_not_built(option: str, complaint: str, tmp_path: Path) -> None:
    root = _sample(tmp_path, f"option (mercato.api.policy.v1.policy) = {option};" if option else "")
    with pytest.raises(stubs.BadContract, match=complaint.replace("(", r"\(")):
        stubs.generate(root)
    assert not (root / "mercato/api/sample").exists()


def test_stubs_are_made_once_for_the_same_contracts(tmp_path: Path) -> None:
    own = '{access: {own: {fields: ["owner_id"]}}, idempotent_by: "owner_id"}'
    root = _sample(tmp_path, f"option (mercato.api.policy.v1.policy) = {own};")
    assert [stubs.generate(root), stubs.generate(root)] == [True, False]
    (root / "protos/mercato/api/sample/v1/sample.proto").unlink()
    assert stubs.generate(root)
    assert not list((root / "mercato/api/sample").rglob("*_pb2*"))
    assert (root / "buf/validate/validate_pb2.pyi").is_file()


def test_taking_a_field_away_breaks_the_baseline(tmp_path: Path) -> None:
    option = "option (mercato.api.policy.v1.policy) = {access: {anyone: true}};"
    protos, baseline = _sample(tmp_path, option) / "protos", tmp_path / "baseline.binpb"
    stubs.image(protos, baseline)
    assert not compatibility.lint(protos, baseline)
    sample = protos / "mercato/api/sample/v1/sample.proto"
    sample.write_text(sample.read_text().replace("int32 count = 2;", "string count = 2;"))
    assert any("breaks clients" in line and "count" in line for line in compatibility.lint(protos, baseline))
