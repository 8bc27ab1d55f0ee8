"""The Kubernetes manifests fit together: selectors, ports, volumes, settings; and are closed."""

from __future__ import annotations

from typing import Any

import pytest

from engine.deploying import serve
from tests.deployment.manifests import PORTS, base, pods, wrong_call

OBJECTS = base()
PODS = [(one["metadata"]["name"], one, template) for one, template in pods()]
each_pod = pytest.mark.parametrize(
    ("one", "template"), [pod[1:] for pod in PODS], ids=[pod[0] for pod in PODS]
)


def fits(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def labels_of(template: dict[str, Any]) -> dict[str, str]:
    return dict(template["metadata"]["labels"])


def test_names_are_unique_and_kinds_are_what_is_wanted() -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in OBJECTS]
    assert len(names) == len(set(names))
    assert {kind for kind, _ in names} >= {
        "StatefulSet", "Deployment", "Job", "CronJob", "Service", "ConfigMap",
        "PersistentVolumeClaim", "NetworkPolicy", "ServiceAccount",
    }  # fmt: skip
    assert "Secret" not in {kind for kind, _ in names}, "secrets are made by hand"


@each_pod
def test_pods_are_found_run_as_nobody_and_are_bounded(
    one: dict[str, Any], template: dict[str, Any]
) -> None:
    labels, spec = labels_of(template), template["spec"]
    if "selector" in one["spec"]:
        assert fits(one["spec"]["selector"]["matchLabels"], labels)
    assert labels["app.kubernetes.io/name"] == "driftline"
    assert (
        one["metadata"]["labels"]["app.kubernetes.io/component"]
        == labels["app.kubernetes.io/component"]
    )
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())}
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} == set(container["resources"]["limits"])
        assert {"cpu", "memory"} == set(container["resources"]["requests"])
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(mounted) == len(set(mounted)) and "/tmp" in mounted
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert ":" in container["image"]


@each_pod
def test_pods_call_what_there_is(one: dict[str, Any], template: dict[str, Any]) -> None:
    for container in template["spec"]["containers"]:
        if container.get("command") == ["mlflow"]:
            continue
        assert wrong_call(container["args"]) == "", wrong_call(container["args"])


@each_pod
def test_pods_listen_where_they_are_asked(one: dict[str, Any], template: dict[str, Any]) -> None:
    if one["kind"] in ("Job", "CronJob"):
        return
    part = template["metadata"]["labels"]["app.kubernetes.io/component"]
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == PORTS[part]
    if "--port" in container["args"]:
        assert container["args"][container["args"].index("--port") + 1] == str(PORTS[part])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe].get("httpGet") or container[probe]["tcpSocket"]
        assert asked["port"] == port["name"]
        paths: dict[str, set[str | None]] = {
            "live": {"/metrics"}, "serve": {None, "/healthz"}, "replay": {None},
            "mlflow": {"/health"},
        }  # fmt: skip
        assert asked.get("path") in paths[part]


def test_the_probes_are_what_the_code_answers() -> None:
    from engine.serving import app
    from tests.e2e.driving import ROOT

    source = (ROOT / "engine" / "serving" / "app.py").read_text("utf-8")
    assert app.__doc__ and '"/healthz"' in source
    assert '"/metrics"' in (ROOT / "engine" / "metrics.py").read_text("utf-8")
    port = next(option for option in serve.params if option.name == "port")
    assert port.default == PORTS["serve"]
    from engine.cli import replay

    assert next(one for one in replay.params if one.name == "port").default == PORTS["replay"]


def test_the_replay_app_takes_its_token_from_the_environment() -> None:
    from engine.cli import replay

    token = next(one for one in replay.params if one.name == "token")
    assert token.envvar == "REPLAY_TOKEN", "on a command line everybody could read it"


def test_production_answers_prometheus_where_it_asks() -> None:
    from pathlib import Path

    from engine.configuration import load
    from tests.e2e.driving import ROOT

    found = load(Path(ROOT / "config"), {"DRIFTLINE_ENV": "prod"}).settings.metrics
    assert (found.host, found.port) == ("0.0.0.0", PORTS["live"])


def test_services_find_pods_and_their_ports() -> None:
    templates = [template for _, template in pods()]
    for one in OBJECTS:
        if one["kind"] != "Service":
            continue
        found = [each for each in templates if fits(one["spec"]["selector"], labels_of(each))]
        assert len(found) == 1, one["metadata"]["name"]
        names = {port["name"] for port in found[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= names
    services = {one["metadata"]["name"] for one in OBJECTS if one["kind"] == "Service"}
    for one in OBJECTS:
        if one["kind"] == "StatefulSet":
            assert one["spec"]["serviceName"] in services and one["spec"]["replicas"] == 1


def test_settings_are_there_and_secrets_are_only_referred_to() -> None:
    maps = {one["metadata"]["name"]: one["data"] for one in OBJECTS if one["kind"] == "ConfigMap"}
    for _, template in pods():
        for container in template["spec"]["containers"]:
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in maps
            for variable in container.get("env", ()):
                if any(word in variable["name"] for word in ("KEY", "TOKEN", "URL", "SECRET")):
                    assert variable["valueFrom"]["secretKeyRef"]["name"] == "driftline-secrets"
    for data in maps.values():
        assert not [name for name in data if "KEY" in name or "TOKEN" in name or "SECRET" in name]


def test_claims_are_there() -> None:
    claims = {one["metadata"]["name"] for one in OBJECTS if one["kind"] == "PersistentVolumeClaim"}
    for one in OBJECTS:
        if one["kind"] == "StatefulSet":
            name = one["metadata"]["name"]
            claims |= {
                f"{each['metadata']['name']}-{name}-0"
                for each in one["spec"]["volumeClaimTemplates"]
            }
    for _, template in pods():
        for volume in template["spec"]["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_nobody_comes_in_unless_named_and_never_two_rounds_at_once() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"] for one in OBJECTS if one["kind"] == "NetworkPolicy"
    }
    nobody = policies["driftline-nobody"]
    assert nobody["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "driftline"}
    assert set(nobody["policyTypes"]) == {"Ingress", "Egress"} and nobody["ingress"] == []
    for name, spec in policies.items():
        for rule in spec.get("ingress", ()):
            assert rule["from"] and rule["ports"], name
    for one in OBJECTS:
        if one["kind"] == "CronJob":
            assert one["spec"]["concurrencyPolicy"] == "Forbid"
        if one["metadata"]["name"] in ("driftline-once", "driftline-run"):
            assert one["spec"]["suspend"] is True
