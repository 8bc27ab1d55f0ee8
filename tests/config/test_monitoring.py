"""What config/monitoring asks, shows and warns of is what runs and servers really export."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from engine.alerts.rounds import Facts
from engine.alerts.rules import Quota
from engine.deploying import serve
from engine.flow import Flow, run
from engine.metrics import Metrics, measured
from engine.news.agent import Agent
from engine.news.client import Client
from engine.news.feed import LedgerFeed
from engine.news.ledger import Ledger
from engine.news.live import Live
from engine.news.lookout import Lookout
from engine.news.settings import NewsApi
from engine.places import RegistryGone
from engine.progress import Progress
from engine.registry import Registry
from engine.runlog import RunDirectory
from engine.serving.logbook import Logbook
from engine.settings import CatBoostModel, Every, Retraining
from engine.tallies import FIGURES
from engine.training.pool import ProcessTrainer
from engine.training.store import Store
from tests.e2e.driving import ROOT, driftline, start
from tests.engine.news.newsapi import KEY, NewsServer, article, articles, topics_of
from tests.engine.registered import serving

MONITORING = ROOT / "config" / "monitoring"
BOARD = json.loads((MONITORING / "grafana" / "dashboards" / "driftline.json").read_text("utf-8"))
SERIES = re.compile(r"\b(driftline_\w+|process_\w+)(\{[^}]*\})?")
FILLED = {"$__rate_interval": "1m", "$__interval": "1m", "$instance": ".*", "$stream": ".*"}
"""What stands for Grafana's variables."""


def data(*place: str) -> Any:
    """Return the content of a YAML file."""
    return YAML(typ="safe", pure=True).load((MONITORING.joinpath(*place)).read_text("utf-8"))


def targets() -> list[tuple[str, str]]:
    """Return what the dashboard asks, with the title of the panel."""
    found = [
        (panel["title"], one["expr"])
        for panel in BOARD["panels"]
        for one in panel.get("targets", ())
    ]
    return found + [(one["name"], one["expr"]) for one in BOARD["annotations"]["list"]]


RULES = [rule for group in data("rules.yml")["groups"] for rule in group["rules"]]
ASKED = [*targets(), *((rule["alert"], rule["expr"]) for rule in RULES)]


# --- what is exported -----------------------------------------------------------------------


def page_of_live(folder: Path) -> str:
    """Return the page of a live run: articles over HTTP, a ledger, the dataflow, models."""
    live = Live(
        name="newsroom",
        topics=topics_of(("science", "sports")),
        model=CatBoostModel(iterations=3),
        policy=Every(kind="every", records=60),
        alerts=(Quota(when="quota"),),
        retraining=Retraining(first=20, window=40),
    )
    entries = iter(range(10**6))

    def fresh(asked: object) -> Any:
        return articles([article(next(entries)) for _ in range(90)])

    directory, progress = RunDirectory(folder / "run", "classification"), Progress(0)
    with (
        NewsServer(fresh) as server,
        Ledger.open(folder / "data") as ledger,
        ProcessTrainer(Store(folder / "models"), 1) as trainer,
        Metrics("127.0.0.1", 0) as metrics,
    ):
        settings, stop = NewsApi(base_url=server.url, backoff="0s"), threading.Event()
        client = Client(settings, KEY)
        Agent(settings, live.topics, 0, ledger, client, clock, stop, lambda line: None).run(1)
        lookout = Lookout.of(live.alerts, ledger, lambda: Facts(clock(), 0.0), clock)
        feed = LedgerFeed(live, ledger, lambda: True, lookout)
        flow = Flow(live, [feed], 1, directory.parts, trainer, None, "", 16, progress)
        about = {"name": live.name, "seed": 0, "scenario": live.lasting()}
        parts = (live, ledger, trainer, progress, 0, lambda: feed.newest, clock)
        with measured(metrics, about, *parts) as flow.listen:
            run(flow, 1)
            with urlopen(metrics.url, timeout=10) as answer:
                page: str = answer.read().decode()
    assert not flow.failures
    return page


def clock() -> int:
    return time.time_ns() // 1000


def page_of_server(folder: Path) -> str:
    """Return the page of a server that has been asked, but has no model yet."""

    def gone() -> Registry:
        raise RegistryGone("it is not there")

    with serving("nobody", gone, Logbook(folder), look=False) as (client, _):
        assert client.ask("POST", "/predict", {"rows": []})[0] == 503
        page: str = client.ask("GET", "/metrics")[1]
    return page


def labels_of(page: str) -> dict[str, set[str]]:
    """Return the labels of each series of a page."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the labels of all that a live run and a server export."""
    found: dict[str, set[str]] = {}
    folder = tmp_path_factory.mktemp("exported")
    for page in (page_of_live(folder), page_of_server(folder)):
        for name, labels in labels_of(page).items():
            found.setdefault(name, {"job", "instance"}).update(labels)
    return found


def problems(expression: str, exported: dict[str, set[str]]) -> list[str]:
    """Return what an expression asks that nobody exports."""
    wrong = []
    for name, braces in SERIES.findall(expression):
        if name not in exported:
            wrong.append(name)
        for label in re.findall(r"(\w+)\s*[!=]~?\"", braces):
            if label not in exported.get(name, {label}):
                wrong.append(f"{name}{{{label}}}")
    return wrong


def test_what_nobody_exports_is_found(exported: dict[str, set[str]]) -> None:
    good = 'rate(driftline_records_total{stream=~"$stream", job="driftline"}[1m])'
    assert problems(good, exported) == []
    assert problems(good.replace("records", "rcords"), exported) == ["driftline_rcords_total"]
    assert problems(good.replace("stream=", "flow="), exported) == ["driftline_records_total{flow}"]


@pytest.mark.parametrize(("title", "expression"), ASKED, ids=[title for title, _ in ASKED])
def test_what_is_asked_is_exported(
    title: str, expression: str, exported: dict[str, set[str]]
) -> None:
    assert problems(expression, exported) == [], title


def test_a_live_run_exports_all_figures_and_the_dashboard_shows_them(
    exported: dict[str, set[str]],
) -> None:
    shown = " ".join(expression for _, expression in targets())
    for name, figure in FIGURES.items():
        assert exported[f"driftline_{name}"] >= set(figure.labels), name
        assert f"driftline_{name}{{" in shown, f"driftline_{name} is in no panel"


# --- the files ------------------------------------------------------------------------------


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    assert {"uid", "title", "schemaVersion", "templating", "time", "panels"} <= BOARD.keys()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids)) > 30
    source = {"type": "prometheus", "uid": "${datasource}"}
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == source and panel["targets"], panel["title"]
        assert all(one["datasource"] == source for one in panel["targets"])
        letters = [one["refId"] for one in panel["targets"]]
        assert len(letters) == len(set(letters))
        assert panel["fieldConfig"]["defaults"]["unit"]
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(BOARD)))
    assert used == set(variables)
    (provided,) = data("grafana", "provisioning", "datasources", "driftline.yml")["datasources"]
    assert variables["datasource"]["current"]["value"] == provided["uid"]
    assert variables["datasource"]["query"] == provided["type"] == "prometheus"
    (board,) = data("grafana", "provisioning", "dashboards", "driftline.yml")["providers"]
    assert board["type"] == "file" and board["options"]["path"] == "${DASHBOARDS}"


def test_rules_say_what_is_wrong_and_are_in_the_page() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert {"severity"} == rule["labels"].keys()
        assert {"summary", "description"} == rule["annotations"].keys()
        assert f"| `{rule['alert']}` |" in page, rule["alert"]


def test_each_rule_is_tried() -> None:
    tried = (ROOT / "tests" / "config" / "rules_test.yml").read_text("utf-8")
    for rule in RULES:
        assert f'alertname="{rule["alert"]}"' in tried, rule["alert"]


def test_targets_are_where_the_commands_listen() -> None:
    jobs = {job["job_name"]: job for job in data("prometheus.yml")["scrape_configs"]}
    assert set(jobs) == {"driftline", "driftline-serve"}
    for job in jobs.values():
        (place,) = job["file_sd_configs"]
        assert all((MONITORING / file).is_file() for file in place["files"])
    assert data("targets", "engine.yml") == [{"targets": ["localhost:9464"]}]
    port = next(option.default for option in serve.params if option.name == "port")
    assert data("targets", "serve.yml") == [{"targets": [f"localhost:{port}"]}]


def promtool(*words: object) -> str:
    """Return what promtool says."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool here (Debian's package prometheus has it)")
    command = [tool, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", MONITORING / "prometheus.yml")


def test_rules_warn_of_what_is_wrong_and_of_nothing_else() -> None:
    assert "SUCCESS" in promtool("test", "rules", ROOT / "tests" / "config" / "rules_test.yml")


# --- a real Prometheus ----------------------------------------------------------------------


CONFIG = """\
name: newsroom
newsapi: {{base_url: "{url}", plan: {{requests: 100000, per: 12h}}, backoff: 0s}}
topics:
  - {{name: business, category: business, country: us}}
  - {{name: sports, category: sports, country: us}}
interval: 1s
text: {{columns: 32}}
registry: null
model: {{kind: catboost, iterations: 10, depth: 3}}
detectors: [{{kind: adwin, on: error}}]
policy: {{kind: every, records: 100}}
retraining: {{first: 60, window: 300}}
alerts: [{{when: quota}}]
"""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Run Prometheus with our configuration, but more eager; yield its folder and its address."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus here (Debian's package has it)")
    folder = tmp_path / "monitoring"
    shutil.copytree(MONITORING, folder)
    text = (folder / "prometheus.yml").read_text("utf-8").replace("15s", "1s")
    (folder / "prometheus.yml").write_text(text, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus", "--config.file", str(folder / "prometheus.yml"),
        "--storage.tsdb.path", str(tmp_path / "series"), "--web.listen-address", place,
    ]  # fmt: skip
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        yield folder, f"http://{place}/api/v1"
    finally:
        process.terminate()
        process.wait(20)


def ask(api: str, expression: str) -> list[Any]:
    """Return what Prometheus finds."""
    for variable, value in FILLED.items():
        expression = expression.replace(variable, value)
    with urlopen(f"{api}/query?{urlencode({'query': expression})}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("live")
def test_no_panel_of_a_live_run_is_without_data(
    tmp_path: Path, prometheus: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenarios.newsserver import KEY, NewsServer

    folder, api = prometheus
    with NewsServer(speed=40_000.0, head_start=400_000.0) as server:
        (tmp_path / "newsroom.yaml").write_text(CONFIG.format(url=server.url), "utf-8")
        monkeypatch.setenv("NEWSAPI_KEY", KEY)
        process = start("live", tmp_path / "newsroom.yaml", "--metrics-port", 0)
        assert process.stderr is not None
        try:
            said = next(line for line in process.stderr if line.startswith("metrics: "))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            target = said.split("//")[1].split("/")[0]
            (folder / "targets" / "engine.yml").write_text(f"- targets: ['{target}']\n", "utf-8")
            of_runs = [(title, one) for title, one in targets() if "$server" not in one]
            wanted = [one for one in of_runs if "alarms_total" not in one[1] or "> 0" not in one[1]]
            left, until = wanted, time.monotonic() + 120
            while left and time.monotonic() < until:
                time.sleep(2)
                left = [(title, one) for title, one in left if not has_data(api, one)]
            assert left == []
        finally:
            process.kill()
            process.wait()


def has_data(api: str, expression: str) -> bool:
    """Return whether there is something to show, as soon as Prometheus answers."""
    try:
        return bool(ask(api, expression))
    except OSError:
        return False


@pytest.mark.parametrize("command", ["run", "live"])
def test_a_port_that_is_taken_ends_the_command_before_it_begins(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEWSAPI_KEY", "0123456789")
    path = tmp_path / "it.yaml"
    scenario = "source: {kind: generator, name: sea, records: 5000}\n"
    news = "topics: [{name: sports, category: sports, country: us}]\n"
    path.write_text(scenario if command == "run" else news, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = driftline(command, path, "--out", "out", "--metrics-port", port)
    assert answer.code == 2 and f"--metrics-port {port}: metrics cannot be served" in answer.err
    assert not (tmp_path / "out" / "run.json").exists()
