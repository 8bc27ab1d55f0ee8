"""What holds for all deployment files: they parse, keep their schema, name no secret, pin all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deployment.manifests import (
    ALL,
    BASE,
    COMPOSE,
    DEPLOY,
    OVERLAYS,
    SCHEMAS,
    WORKFLOWS,
    base,
    calls,
    docker,
    documents,
    plain,
    wrong_call,
)
from tests.e2e.driving import ROOT

SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|AGE-SECRET-KEY-1|ghp_\w{20}"
    r"|(?i:(password|secret|token|api_?key)['\"]?[ ]*[:=][ ]*['\"]?[A-Za-z0-9+_-]{12,})"
)
UNPINNED = re.compile(r":latest\b|^\s*image:\s*[^:\s]+\s*$", re.M)
WIDE = re.compile(r"FullAccess|AdministratorAccess|\"(\w+:)?\*\"|Action\W+\*")
WORK = ("apps/v1", "batch/v1")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_every_file_parses_and_holds_no_secret_and_nothing_unpinned(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.suffix in (".yaml", ".yml"):
        assert documents(path)
    elif path.suffix == ".json":
        json.loads(text)
    elif path.suffix == ".py":
        compile(text, str(path), "exec")
    assert SECRETS.search(text) is None
    assert UNPINNED.search(text) is None
    assert text.endswith("\n") and "\t" not in text.replace("\n\t", "")


def test_the_patterns_bite() -> None:
    assert SECRETS.search("AWS_ACCESS_KEY_ID: AKIA" + "A" * 16)
    assert SECRETS.search("NEWSAPI_KEY: x\nGF_PASSWORD=" + "hunter2hunter2")
    assert SECRETS.search('"api_key": "' + "0" * 32 + '"')
    assert UNPINNED.search("image: a:latest\n") and UNPINNED.search("  image: grafana/grafana\n")
    assert WIDE.search('"s3:*"') and WIDE.search("policy/AmazonS3FullAccess")


@pytest.mark.parametrize("path", COMPOSE, ids=name_of)
def test_compose_files_keep_the_specification(path: Path) -> None:
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text("utf-8"))
    jsonschema.validate(plain(documents(path)[0]), schema)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_workflows_keep_their_schema(path: Path) -> None:
    schema = json.loads((SCHEMAS / "github-workflows.json").read_text("utf-8"))
    jsonschema.validate(plain(documents(path)[0]), schema)


def test_the_schemas_bite() -> None:
    compose = json.loads((SCHEMAS / "compose-spec.json").read_text("utf-8"))
    workflow = json.loads((SCHEMAS / "github-workflows.json").read_text("utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"a": {"imagee": "x:1"}}}, compose)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"on": "push", "jobs": {"a": {"stepz": []}}}, workflow)


# --- images ---------------------------------------------------------------------------------


def test_the_image_is_pinned_to_the_last_and_runs_as_nobody() -> None:
    steps = docker(ROOT / "Dockerfile")
    froms = [rest for word, rest in steps if word == "FROM"]
    assert all(re.match(r"python:3\.1[12]\.\d+-slim-\w+( AS \w+)?$", one) for one in froms)
    assert len(froms) == 2 and len({one.split()[0] for one in froms}) == 1
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    for install in installs:
        assert install.count("pip install") == install.count("pip install --no-deps")
    assert any("-r requirements.image.lock" in install for install in installs)
    health = next(rest for word, rest in steps if word == "HEALTHCHECK")
    assert "/opt/driftline/health.py" in health
    assert ("COPY", "deploy/docker/health.py /opt/driftline/health.py") in steps
    assert ("ENTRYPOINT", '["driftline"]') in steps
    call = json.loads(next(rest for word, rest in steps if word == "CMD"))
    assert wrong_call(call) == ""
    for word, rest in steps:
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert list(ROOT.glob(source)), source


def test_what_is_copied_is_not_ignored_and_secrets_are() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name in (".git", ".env", ".env.*", "**/secrets.yaml", "*.key", "data", "runs", ".venv"):
        assert name in ignored
    for name in ("engine", "scenarios", "config", "requirements.image.lock", "deploy"):
        assert name not in ignored


def test_the_locks_of_image_and_tests_agree() -> None:
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    def lock(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text("utf-8").splitlines()
        return {canonicalize_name(line.split("==")[0]): line for line in lines}

    import tomllib

    whole, image = lock("requirements.lock"), lock("requirements.image.lock")
    assert image.items() <= whole.items()
    assert not {"torch", "pytest", "mypy", "ruff", "moto", "selenium", "hypothesis"} & set(image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["fast"]]
    left = [Requirement(text) for text in wanted]
    seen = set()
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    while left:
        one = left.pop()
        name, extras = canonicalize_name(one.name), ("", *one.extras)
        if (name, extras) in seen or name == "torch":  # torch is not: nothing here needs it
            continue
        seen.add((name, extras))
        assert name in image, f"requirements.image.lock lacks {name}: write it anew"
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        left += [
            need
            for need in needs
            if need.marker is None
            or any(need.marker.evaluate({**linux, "extra": extra}) for extra in extras)
        ]


# --- compose --------------------------------------------------------------------------------


def test_services_call_what_there_is_and_guard_themselves() -> None:
    whole = documents(ROOT / "compose.yaml")[0]
    for name, service in whole["services"].items():
        assert "no-new-privileges:true" in service["security_opt"] and service["cap_drop"] == [
            "ALL"
        ]
        assert service.get("mem_limit"), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} can be reached from elsewhere"
        if service["image"].startswith("driftline:") and "entrypoint" not in service:
            assert wrong_call(service["command"]) == "", (name, wrong_call(service["command"]))
            assert service["read_only"] is True
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            else:
                assert source in whole["volumes"], source
    assert set(whole["services"]) >= {
        "live", "mlflow", "replay", "serve", "prometheus", "grafana", "sync",
    }  # fmt: skip
    for service in documents(ROOT / "compose.dev.yaml")[0]["services"].values():
        if service["command"][0] == "driftline":
            assert wrong_call(service["command"][1:]) == ""


def test_every_variable_that_compose_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text("utf-8")))
    example = (DEPLOY / "docker" / "example.env").read_text("utf-8")
    there = dict(line.split("=", 1) for line in example.splitlines() if re.match(r"\w+=", line))
    assert asked - {"DRIFTLINE_VERSION"} == set(there)
    assert not any(there.values())


def test_prometheus_asks_where_the_services_listen() -> None:
    services = documents(ROOT / "compose.yaml")[0]["services"]
    for path, place in (("engine", "live:9464"), ("serve", "serve:8000")):
        target = documents(DEPLOY / "docker" / "targets" / f"{path}.yml")[0]
        assert target == [{"targets": [place]}] and place.split(":")[0] in services


# --- workflows ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_workflows_may_do_little_and_pin_what_they_use(path: Path) -> None:
    whole = documents(path)[0]
    assert whole["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name, job in whole["jobs"].items():
        assert job["timeout-minutes"] <= 90
        wide = {key for key, right in job.get("permissions", {}).items() if right == "write"}
        assert wide <= {"packages", "contents"} and (not wide or path.stem == "release"), name
        for step in job["steps"]:
            uses = step.get("uses", "")
            assert not uses or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", uses), uses
            if uses.startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            script = step.get("run", "")
            assert "${{" not in script, "a script takes what others write from its environment"
            for target in re.findall(r"^\s*make ([\w-]+)", script, re.M):
                assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"
            for call in calls(script):
                assert wrong_call(call) == "", (call, wrong_call(call))


def test_a_wrong_call_is_noticed() -> None:
    assert wrong_call(["run", "scenarios/elec2.yaml", "--processes", "4"]) == ""
    assert wrong_call(["serve", "--host", "0.0.0.0"]) == ""
    assert wrong_call(["serve", "--hots", "0.0.0.0"]) != ""
    assert wrong_call(["launch"]) != "" and wrong_call(["models", "elect"]) != ""
    assert wrong_call(["run"]) != "" and wrong_call(["serve", "--port", "many"]) != ""
    script = 'X=1 .venv/bin/driftline models promote "$MODEL" "$V" > x && echo driftline\n'
    assert list(calls(script)) == [["models", "promote", "1", "1"]]


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ({"verdict": "promoted"}, None),
        ({"verdict": "reused"}, None),
        ({"verdict": "rejected"}, "m/3 was not let in by its evaluation: rejected"),
        ({"verdict": None}, "m/3 was not let in by its evaluation: it has not been judged"),
    ],
)
def test_the_gate_lets_in_what_the_evaluation_let_in(
    tmp_path: Path, version: dict[str, Any], why: str | None
) -> None:
    import runpy

    path = tmp_path / "version.json"
    path.write_text(json.dumps({"name": "m", "version": 3, **version}))
    assert runpy.run_path(str(DEPLOY / "gate.py"))["main"](str(path)) == why


# --- the cloud ------------------------------------------------------------------------------


def test_the_ecs_task_is_complete_and_its_volumes_are_there() -> None:
    task = json.loads((DEPLOY / "ecs" / "task-definition.json").read_text("utf-8"))
    for key in ("family", "cpu", "memory", "executionRoleArn", "taskRoleArn", "networkMode"):
        assert task[key]
    names = {volume["name"] for volume in task["volumes"]}
    for container in task["containerDefinitions"]:
        assert wrong_call(container["command"]) == ""
        assert container["readonlyRootFilesystem"] and container["user"] == "10001:10001"
        assert {mount["sourceVolume"] for mount in container["mountPoints"]} <= names
        assert container["healthCheck"]["command"][-1] == "/opt/driftline/health.py"
        named = {one["name"] for one in container["environment"]}
        assert not named & {"NEWSAPI_KEY", "AWS_SECRET_ACCESS_KEY", "ALERT_WEBHOOK_URL"}
        for volume in task["volumes"]:
            if "efsVolumeConfiguration" in volume:
                assert volume["efsVolumeConfiguration"]["transitEncryption"] == "ENABLED"


def terraform() -> str:
    return "\n".join(path.read_text("utf-8") for path in (DEPLOY / "terraform").glob("*.tf"))


def test_the_infrastructure_is_closed_and_refers_to_what_there_is() -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", terraform())
    assert text.count("{") == text.count("}")
    for kind in (
        "aws_s3_bucket", "aws_s3_bucket_versioning", "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_server_side_encryption_configuration", "aws_sns_topic", "aws_sqs_queue",
        "aws_iam_role",
    ):  # fmt: skip
        assert f'resource "{kind}"' in text
    for name in ("block_public_acls", "block_public_policy", "restrict_public_buckets"):
        assert re.search(rf"{name}\s+= true", text)
    made = set(re.findall(r'^(?:resource|data) "(\w+)" "(\w+)"', text, re.M))
    used = set(re.findall(r"\b(aws_\w+)\.(\w+)\.", text))
    assert used <= made
    variables = set(re.findall(r'^variable "(\w+)"', text, re.M))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables


def test_roles_may_do_what_they_need_and_nothing_else() -> None:
    text = (DEPLOY / "terraform" / "roles.tf").read_text("utf-8")
    actions = set(re.findall(r'"(\w[\w-]*:\w+\*?)"', text))
    assert actions <= {
        "sts:AssumeRole", "s3:ListBucket", "s3:GetObject", "s3:PutObject",
        "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "sns:Publish",
        "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite",
        "secretsmanager:GetSecretValue", "logs:CreateLogStream", "logs:PutLogEvents",
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
        "ecr:GetAuthorizationToken",
    }  # fmt: skip
    assert len(re.findall(r'resources = \["\*"\]', text)) == 1  # ecr:GetAuthorizationToken
    assert not re.search(r"managed_policy|policy_attachment", terraform())


@pytest.mark.skipif(shutil.which("terraform") is None, reason="there is no terraform here")
def test_the_infrastructure_is_formatted() -> None:
    words = ["terraform", "fmt", "-check", "-recursive", str(DEPLOY / "terraform")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_timer_starts_a_service_that_calls_what_there_is() -> None:
    service = (DEPLOY / "systemd" / "driftline-live.service").read_text("utf-8")
    timer = (DEPLOY / "systemd" / "driftline-live.timer").read_text("utf-8")
    assert "OnCalendar=" in timer and "WantedBy=timers.target" in timer
    call = re.findall(r"^ExecStart=(.*)$", service, re.M)
    assert len(call) == 1 and wrong_call(call[0].split()[1:]) == ""
    assert "--once" in call[0] and "NoNewPrivileges=yes" in service
    assert not re.search(r"^Environment=.*(KEY|TOKEN|SECRET)", service, re.M)


def test_the_overlays_are_over_the_base() -> None:
    names = {(one["kind"], one["metadata"]["name"]) for one in base()}
    for overlay in OVERLAYS:
        whole = documents(overlay / "kustomization.yaml")[0]
        assert "../../base" in whole["resources"]
        for patch in whole["patches"]:
            kind, name = patch["target"]["kind"], patch["target"].get("name")
            assert any(kind == one[0] and name in (None, one[1]) for one in names), patch
            assert documents_of(patch["patch"])
        for image in whole.get("images", ()):
            assert image["newTag"] != "latest"
    there = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(documents(BASE / "kustomization.yaml")[0]["resources"]) == there


def documents_of(text: str) -> list[Any]:
    from ruamel.yaml import YAML

    return list(YAML(typ="safe", pure=True).load(text))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_the_overlays_can_be_put_together(overlay: Path) -> None:
    words = ["kubectl", "kustomize", str(overlay)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "namespace: driftline" in done.stdout
