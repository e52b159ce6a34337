"""The Kubernetes manifests, rendered by kubectl and held against the API's schemas and against the project."""

import ipaddress
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.contract import published, rpcs
from mercato.local.setup import AUDITOR, SCHEMAS
from mercato.policy import policy_of
from mercato.rpc.contract import owner_of

ROOT = Path(__file__).resolve().parents[2]
KUBECTL = Path(sys.executable).with_name("kubectl")
SERVICES = {"product", "inventory", "order", "payment", "delivery", "user"}

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    done = subprocess.run([KUBECTL, "kustomize", ROOT / "k8s/base"], capture_output=True, text=True, check=True)
    assert done.stderr == "", "a deprecation is only told on standard error"
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    for each in manifests:
        if each["kind"] in {"Deployment", "Job"}:
            yield each["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.32", "1.35"])
def test_every_manifest_is_valid_to_the_letter(manifests: list[Manifest], version: str) -> None:
    for each in manifests:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_field_would_be_found(manifests: list[Manifest]) -> None:
    deployment = of_kind(manifests, "Deployment")["order"]
    deployment = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.32", strict=True)


def test_every_process_has_a_deployment_a_service_and_an_account(manifests: list[Manifest]) -> None:
    processes = SERVICES | {"gateway"}
    assert {path.parent.name for path in (ROOT / "services").glob("*/__main__.py")} == SERVICES
    assert set(of_kind(manifests, "Deployment")) == processes | {"auditor"}
    assert set(of_kind(manifests, "Service")) == processes, "nobody calls the auditor"
    assert set(of_kind(manifests, "ServiceAccount")) == processes | {"auditor", "migrate"}


def container_of(manifests: list[Manifest], process: str) -> Manifest:
    (container,) = of_kind(manifests, "Deployment")[process]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_an_auditor_is_told_what_a_service_is_told_and_listens_for_probes_and_scrapes_alone(
    manifests: list[Manifest],
) -> None:
    auditor, service = container_of(manifests, "auditor"), container_of(manifests, "order")
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert [auditor[each] for each in probes] == [service[each] for each in probes]
    assert {each["name"] for each in auditor["env"]} == {each["name"] for each in service["env"]}
    assert {each["name"] for each in auditor["ports"]} == {each["name"] for each in service["ports"]} - {"grpc"}
    assert of_kind(manifests, "Deployment")["auditor"]["spec"]["replicas"] == 1


def test_the_migration_is_given_the_password_of_every_role(manifests: list[Manifest]) -> None:
    (job,) = of_kind(manifests, "Job").values()
    sources = [source for volume in job["spec"]["template"]["spec"]["volumes"] for source in _sources(volume)]
    paths = {item["path"] for source in sources for item in source.get("items", ())}
    assert paths == {f"roles/{role}" for role in (*SCHEMAS, AUDITOR)}


def test_what_customers_agree_to_is_signed_where_they_are_served_and_nowhere_else(manifests: list[Manifest]) -> None:
    holders = {
        name
        for name, each in of_kind(manifests, "Deployment").items()
        for volume in each["spec"]["template"]["spec"]["volumes"]
        if "order-grant" in {source.get("secret", {}).get("name") for source in _projected(volume)}
    }
    assert holders == {"order"}


def _projected(volume: Manifest) -> list[Manifest]:
    return list(volume.get("projected", {}).get("sources", ()))


def _sources(volume: Manifest) -> list[Manifest]:
    return [each["secret"] for each in _projected(volume)]


def test_selectors_find_their_pods(manifests: list[Manifest]) -> None:
    deployments = of_kind(manifests, "Deployment")
    for name, service in of_kind(manifests, "Service").items():
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        ports = {port["name"] for port in deployments[name]["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_nothing_runs_as_root_or_writes_to_its_image(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_every_mount_has_its_volume(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_callers_are_told_where_every_service_is(manifests: list[Manifest]) -> None:
    (settings,) = of_kind(manifests, "ConfigMap").values()
    targets = {name for name in settings["data"] if name.startswith("MERCATO_TARGET_")}
    assert targets == {f"MERCATO_TARGET_{service.upper()}" for service in SERVICES}
    assert settings["data"]["MERCATO_ENVIRONMENT"] == "production"


def callers_of(policy: Manifest) -> set[str]:
    """The processes that a policy lets in, by gRPC and in no other way."""
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": "grpc"}]
    (source,) = rule["from"]
    (expression,) = source["podSelector"]["matchExpressions"]
    assert (source.keys(), expression["key"], expression["operator"]) == (
        *({"podSelector"}, "app.kubernetes.io/name"),
        "In",
    )
    return set(expression["values"])


def test_pods_reach_those_whom_the_contracts_let_them_call_and_no_others(manifests: list[Manifest]) -> None:
    callers: dict[str, set[str]] = {service: set() for service in SERVICES}
    for rpc in rpcs(published()):
        service, policy = owner_of(rpc.containing_service), policy_of(rpc)
        if service in SERVICES:
            callers[service] |= (policy.callers & {*SERVICES, "gateway"}) | ({"gateway"} if policy.for_users else set())
    policies = of_kind(manifests, "NetworkPolicy")
    assert {service: callers_of(policies[service]) for service in SERVICES} == callers
    for name in (*SERVICES, "gateway"):
        assert policies[name]["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": name}}


def test_nobody_reaches_a_pod_that_no_policy_names_and_payment_alone_goes_out(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    everybody = {"matchLabels": {"app.kubernetes.io/part-of": "mercato"}}
    assert policies.pop("nobody")["spec"] == {"podSelector": everybody, "policyTypes": ["Ingress", "Egress"]}
    for each in manifests:
        if each["kind"] in {"Deployment", "Job"}:
            assert everybody["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    private = [ipaddress.ip_network(net) for net in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")]
    out = {
        name: ipaddress.ip_network(peer["ipBlock"]["cidr"])
        for name, policy in policies.items()
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if ipaddress.ip_network(peer["ipBlock"]["cidr"]) not in [*private, ipaddress.ip_network("fc00::/7")]
    }
    assert out.keys() == {"provider"}
    assert policies["provider"]["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "payment"}}


def test_no_secret_stands_in_a_manifest(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")


def test_the_migration_and_the_image_carry_the_release(manifests: list[Manifest]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert list(of_kind(manifests, "Job")) == [f"migrate-{version.replace('.', '-')}"]
    images = {container["image"] for pod in pods(manifests) for container in pod["containers"]}
    assert images == {f"mercato:{version}"}


def test_the_image_runs_as_the_user_that_the_manifests_name(manifests: list[Manifest]) -> None:
    found = re.search(r"^USER (\d+):(\d+)$", (ROOT / "k8s/Dockerfile").read_text(), re.MULTILINE)
    assert found
    for pod in pods(manifests):
        security = pod["securityContext"]
        assert (str(security["runAsUser"]), str(security["runAsGroup"])) == found.groups()
