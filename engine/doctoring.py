"""What is installed, configured and reachable: the command ``driftline doctor``.

`engine.cli` adds the command to the others. It changes nothing, asks the network only with
``--reach``, and shows no secret.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from engine import __version__
from engine.errors import InputError
from engine.terminal import reported

if TYPE_CHECKING:
    from engine.configuration import Configured

NEEDED = (
    "bytewax", "catboost", "numpy", "optuna", "pandas", "pyarrow", "pydantic", "river", "sdv",
    "scikit-learn", "mlflow", "boto3", "dash", "fastapi", "prometheus-client", "requests",
)  # fmt: skip
"""The libraries that commands fail without."""
FAST = "numba"
"""The one that only makes things faster."""
PYTHONS = ((3, 11), (3, 12))
SECRETS = (
    "NEWSAPI_KEY", "ALERT_WEBHOOK_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
SECONDS = 3.0
"""How long to wait for an answer."""
FILES_MAX = 200_000
"""When to stop counting what a cache holds."""
MASK = "***"

State = Literal["ok", "off", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what came of it.

    Parameters
    ----------
    name
        What.
    state
        ``ok``, ``off`` (not there, and nothing asks for it) or ``wrong``.
    said
        What there is, or what to do.
    """

    name: str
    state: State
    said: str


@dataclass
class Report:
    """All that was found, by group."""

    groups: dict[str, list[Finding]] = field(default_factory=dict)
    settings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(one.state != "wrong" for group in self.groups.values() for one in group)

    def json(self) -> str:
        """Return the report as JSON."""
        groups = {name: [asdict(one) for one in group] for name, group in self.groups.items()}
        return json.dumps({"ok": self.ok, **groups, "settings": self.settings}, indent=2)


@click.command(epilog="Example: driftline doctor --reach")
@click.option("--reach", is_flag=True, help="Also ask NewsAPI, S3 and the registry to answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@reported
def doctor(reach: bool, as_json: bool) -> None:
    """Show what is installed and configured, and whether it works; secrets are never shown.

    Exits with 1 if something that is needed, or configured, does not work.
    """
    report = examine(reach)
    if as_json:
        click.echo(report.json())
    else:
        show(report)
    if not report.ok:
        sys.exit(1)


def examine(reach: bool) -> Report:
    """Look at everything; with `reach` also at what the network has to answer."""
    from engine.configuration import Configured, configured

    report = Report()
    report.groups["system"] = list(_system())
    report.groups["libraries"] = list(_libraries())
    found = Configured()
    try:
        found = configured()
        what = "defaults alone" if found.folder is None else str(found.folder)
        said = f"{what}, environment {found.environment or 'not named (DRIFTLINE_ENV)'}"
        trouble = [Finding("files", "ok", said)]
    except InputError as error:
        trouble = [Finding("files", "wrong", f"{error}; the defaults are shown")]
    trouble += [Finding(name, "off", hint) for name, hint in found.unknown.items()]
    report.groups["configuration"] = trouble
    report.groups["folders"] = list(_folders(found))
    report.groups["secrets"] = list(_secrets(_secrets_folder(found)))
    if reach:
        report.groups["network"] = list(_network(found))
    report.settings = [
        {"name": one.name, "value": shown(one.value), "origin": one.origin}
        for one in found.values()
    ]
    return report


def shown(value: Any) -> Any:
    """Return a value without the password or token that an address may hold.

    Examples
    --------
    >>> shown("postgresql://me:hidden@db/mlflow"), shown(9000)
    ('postgresql://***@db/mlflow', 9000)
    """
    if not isinstance(value, str):
        return value
    value = re.sub(r"://[^/\s]*@", f"://{MASK}@", value)
    return re.sub(r"([?&][^=\s]*=)[^&\s]+", rf"\1{MASK}", value) if "://" in value else value


# --- this machine ---------------------------------------------------------------------------


def _system() -> Iterator[Finding]:
    import platform

    from engine.children import cores

    fits = sys.version_info[:2] in PYTHONS
    hint = "" if fits else "; Driftline needs 3.11 or 3.12"
    yield Finding("python", "ok" if fits else "wrong", f"{platform.python_version()}{hint}")
    yield Finding("driftline", "ok", f"{__version__} in {Path(__file__).parent.parent}")
    yield Finding("machine", "ok", f"{platform.platform()}, {cores()} cores")


def _libraries() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name in NEEDED:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "wrong", "is not installed: make setup")
    try:
        version(FAST)
    except PackageNotFoundError:
        yield Finding(FAST, "off", "not installed; detectors run on River's own objects")
        return
    from engine.switch import kernels_that_hold

    if kernels_that_hold() is None:
        said = f"{version(FAST)}, but its kernels cannot be used; detectors run on River's own"
        yield Finding(FAST, "off", said)
    else:
        said = f"{version(FAST)}; compiled detectors agree with River, and are used on long runs"
        yield Finding(FAST, "ok", said)


def _folders(found: Configured) -> Iterator[Finding]:
    from engine.configuration import FOLDERS

    for name in FOLDERS:
        path = found.path(name)
        if path is None:
            if name != "registry" or found.registry is None:
                yield Finding(name, "off", "not set")
            continue
        problem = unwritable(path)
        if problem:
            state: State = "off" if _by_default(found, name) and name != "cache" else "wrong"
            yield Finding(name, state, f"{path}: {problem}")
        elif not path.exists():
            yield Finding(name, "ok", f"{path}: will be made")
        else:
            size = f", {measure(path)}" if name == "cache" else ""
            yield Finding(name, "ok", f"{path}{size}")


def _by_default(found: Configured, name: str) -> bool:
    from engine.configuration import DEFAULT

    return found.origin(tuple(name.split("."))) == DEFAULT


def unwritable(path: Path) -> str:
    """Return why a folder cannot be written to, or made; empty if it can."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is a file" if there != path else "is a file"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def measure(folder: Path) -> str:
    """Return how much a folder holds, in words.

    Examples
    --------
    >>> measure(Path("no such folder"))
    '0 files, 0.0 MB'
    """
    size = count = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except OSError:
                continue
            count += 1
        if count > FILES_MAX:
            return f"more than {FILES_MAX:,} files"
    return f"{count:,} files, {size / 1e6:,.1f} MB"


# --- secrets --------------------------------------------------------------------------------


def _secrets_folder(found: Configured) -> Path:
    return found.folder or Path()


def _secrets(folder: Path) -> Iterator[Finding]:
    from engine.secrets import ENCRYPTED, KEYS, default_key, files, located

    there = files(folder)
    for name in SECRETS:
        try:
            value, origin = located(name, folder)
        except InputError as error:
            yield Finding(name, "wrong", str(error))
            continue
        yield Finding(name, "ok" if value else "off", f"set, {origin}" if value else "not set")
    encrypted = any(path.name == ENCRYPTED for path in there)
    for tool in ("sops", "age"):
        place = shutil.which(tool)
        said = f"{place}, {_tool_version(place)}" if place else "not on the PATH"
        missing: State = "wrong" if encrypted and tool == "sops" else "off"
        yield Finding(tool, "ok" if place else missing, said)
    key = next((name for name in KEYS if os.environ.get(name)), None)
    said = key or (str(default_key()) if default_key().is_file() else "")
    yield Finding("age key", "ok" if said else "off", said or "none; config/setup_secrets.sh")


def _tool_version(place: str) -> str:
    words = [place, "--version"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return "which does not start"
    lines = (done.stdout or done.stderr).strip().splitlines() or ["of unknown version"]
    return lines[0][:60]


# --- the network ----------------------------------------------------------------------------


def _network(found: Configured) -> Iterator[Finding]:
    yield _news(found)
    if found.settings.s3.bucket is None:
        yield Finding("s3", "off", "no bucket is set")
    else:
        yield _bucket(found)
    registry = found.registry
    if registry is None:
        yield Finding("registry", "off", "none is set")
    elif found.path("registry") is None:
        yield _server(registry)
    else:
        from engine.places import Place

        there = Place.of(registry).there
        yield Finding("registry", "ok" if there else "off", f"{registry}{_made(there)}")


def _made(there: bool) -> str:
    return "" if there else ": holds no registry yet"


def _news(found: Configured) -> Finding:
    """Ask NewsAPI without a key, which is refused and costs none of the plan's requests."""
    from engine.news.settings import NewsApi
    from engine.secrets import secret

    address, file = NewsApi().base_url, (found.folder or Path("config")) / "live.yaml"
    try:
        needed = bool(secret("NEWSAPI_KEY", _secrets_folder(found)))
        if file.is_file():
            from engine.news.live import load

            address = load(file).live.newsapi.base_url
    except InputError as error:
        return Finding("newsapi", "wrong", str(error))
    status = status_of(f"{address}/top-headlines")
    if isinstance(status, int):
        return Finding("newsapi", "ok", f"{address} answers")
    said = f"{address}: {status}" + ("" if needed else "; no NEWSAPI_KEY asks for it")
    return Finding("newsapi", "wrong" if needed else "off", said)


def _server(registry: str) -> Finding:
    if not registry.startswith(("http://", "https://")):
        return Finding("registry", "off", f"{shown(registry)}: a database, which is not asked")
    status = status_of(f"{registry.rstrip('/')}/health")
    if isinstance(status, int) and status < 500:
        return Finding("registry", "ok", f"{shown(registry)} answers")
    said = status if isinstance(status, str) else f"HTTP status {status}"
    return Finding("registry", "wrong", f"{shown(registry)}: {said}")


def status_of(address: str) -> int | str:
    """Return the HTTP status with which an address answers, or why it does not, in a few words."""
    import requests

    try:
        with requests.get(address, timeout=SECONDS, allow_redirects=False, stream=True) as answer:
            return answer.status_code
    except requests.Timeout:
        return f"no answer within {SECONDS:g} s"
    except (requests.RequestException, ValueError, OSError) as error:
        return f"nobody answers there ({type(error).__name__})"


def _bucket(found: Configured) -> Finding:
    """Ask for the bucket's head, with the credentials that `driftline sync` would use."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from engine.secrets import aws_credentials

    s3 = found.settings.s3
    once = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1})
    name = f"s3://{s3.bucket}"
    try:
        session = boto3.Session(region_name=s3.region, **aws_credentials(_secrets_folder(found)))
        session.client("s3", endpoint_url=s3.endpoint, config=once).head_bucket(Bucket=s3.bucket)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        why = {"404": "there is no such bucket", "403": "these credentials are refused"}
        return Finding("s3", "wrong", f"{name}: {why.get(code, f'refused ({code})')}")
    except InputError as error:
        return Finding("s3", "wrong", str(error))
    except (BotoCoreError, ValueError, OSError) as error:
        why = {"NoCredentialsError": "there are no credentials (docs/secrets.md)"}
        kind = type(error).__name__
        return Finding("s3", "wrong", f"{name}: {why.get(kind, f'nobody answers there ({kind})')}")
    return Finding("s3", "ok", f"{name} answers")


# --- the report in the terminal -------------------------------------------------------------

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"), "off": ("--", "yellow"), "wrong": ("!!", "red"),
}  # fmt: skip


def show(report: Report) -> None:
    """Print a report for people."""
    for name, group in report.groups.items():
        click.secho(name, bold=True)
        for one in group:
            mark, colour = MARKS[one.state]
            click.echo(f"  {click.style(mark, fg=colour)} {one.name:18} {one.said}")
    click.secho("settings", bold=True)
    for value in report.settings:
        said = "not set" if value["value"] is None else json.dumps(value["value"])
        click.echo(f"  {value['name']:30} {said:28} {value['origin']}")
    wrong = [f"{one.name}" for group in report.groups.values() for one in group
             if one.state == "wrong"]  # fmt: skip
    said = f"{len(wrong)} to mend: {', '.join(wrong)}" if wrong else "all that is needed works"
    click.secho(said, fg="red" if wrong else "green")
