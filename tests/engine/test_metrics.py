"""Figures are those of the run, bounded, and served to whoever asks; they change no outcome."""

from __future__ import annotations

import json
import pickle
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import get_args
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.alerts.rules import Rejected
from engine.errors import InputError
from engine.events import KINDS, Event, Kind
from engine.flow import run
from engine.ledger import Outcomes
from engine.metrics import ANOMALIES, Metrics, measured, of_ledger, of_run
from engine.news.agent import Agent, What
from engine.news.client import Client
from engine.news.ledger import Ledger
from engine.news.live import Live
from engine.news.settings import NewsApi
from engine.progress import Progress
from engine.settings import Engine, Every, Never
from engine.state import Effects
from engine.tallies import FIGURES, OTHER, STREAMS_MAX, VALUES_MAX, Tallies, joined, together
from engine.training.pool import InlineTrainer, Stats
from tests.engine.doubles import NewestTrainer
from tests.engine.news.newsapi import KEY, NewsServer, article, articles, topics_of
from tests.integration.test_flow import ENGINE, ROWS, Made, finished, flow_of

ROOT = Path(__file__).parent.parent.parent
SECOND = 1_000_000


def outcomes(errors: list[float], first: int = 0, model: int = 1) -> Outcomes:
    """Return rows with these errors, a second apart."""
    rows = len(errors)
    seqs = np.arange(first, first + rows, dtype=np.int64)
    words, values = np.full(rows, "a", dtype=object), np.array(errors)
    models = np.full(rows, model, dtype=np.int64)
    times = seqs * SECOND
    return Outcomes(
        seqs, times, words, values, words, values, models, values / 2, seqs, times, times
    )  # fmt: skip


def event(kind: Kind, seq: int, **details: object) -> Event:
    return Event(kind, "s-0000", seq * SECOND, seq, 0, details)


def tallies_of(streams: int = 1, **given: object) -> Tallies:
    names = {f"s-{index:04d}": index for index in range(streams)}
    progress = Progress(9, dict.fromkeys(names, 200), dict.fromkeys(names, 1))
    return Tallies(Engine(policy=Never(kind="never")), names, progress, **given)  # type: ignore[arg-type]


# --- what is counted ------------------------------------------------------------------------


def test_columns_are_summed_and_what_is_unknown_left_out() -> None:
    tallies = tallies_of()
    nan = float("nan")
    tallies.listen("s-0000", Effects(outcomes=[outcomes([1.0, nan, 0.0]), outcomes([1.0], 3)]))
    found = tallies.readings()
    assert found["scored_total", "s-0000"] == 3
    assert found["prediction_errors_total", "s-0000"] == 2
    assert found["baseline_errors_total", "s-0000"] == 1
    assert found["records_total", "s-0000"] == 200
    assert ("error_recent", "s-0000") not in found, "three errors say little"


def test_the_recent_error_is_that_of_the_model_that_answers() -> None:
    tallies = tallies_of()
    tallies.listen("s-0000", Effects(outcomes=[outcomes([1.0] * 600)]))
    assert tallies.readings()["error_recent", "s-0000"] == 1
    tallies.listen("s-0000", Effects(outcomes=[outcomes([0.0] * 250, 600)]))
    assert tallies.readings()["error_recent", "s-0000"] == 0.5
    tallies.listen("s-0000", Effects(outcomes=[outcomes([0.0] * 40, 850, model=2)]))
    assert tallies.readings()["error_recent", "s-0000"] == 0


def test_jobs_from_their_beginning_to_what_became_of_them() -> None:
    tallies = tallies_of()
    tallies.listen("s-0000", Effects(outcomes=[outcomes([0.0] * 90)]))
    kinds: list[Kind] = ["job_started", "job_ready", "rejected", "job_started", "job_failed"]
    tallies.listen("s-0000", Effects(events=[event(kind, 50) for kind in kinds]))
    last: list[Kind] = ["request_dropped", "job_started"]
    tallies.listen("s-0000", Effects(events=[event(kind, 60) for kind in last]))
    found = tallies.readings()
    assert found["jobs_started_total",] == 3 and found["jobs_pending",] == 1
    outcome = {key[1]: value for key, value in found.items() if key[0] == "jobs_total"}
    assert outcome == {"promoted": 0, "rejected": 1, "failed": 1, "reused": 0, "dropped": 1}
    assert found["rejected_in_row", "s-0000"] == 1
    tallies.listen("s-0000", Effects(events=[event("promoted", 70)]))
    found = tallies.readings()
    assert found["rejected_in_row", "s-0000"] == 0
    assert found["model_age_records", "s-0000"] == 130
    assert found["model_age_seconds", "s-0000"] == 19, "from 70 to the newest, 89"


def test_what_a_live_run_replays_is_not_counted_but_stands() -> None:
    tallies = tallies_of(since=300, began=1000 * SECOND, clock=lambda: 1100 * SECOND)
    told = [event("job_started", 10), event("promoted", 20), event("alarm", 30, detector="d")]
    late = Event("anomaly", "s-0000", 1001 * SECOND, 299, 0, {"what": "empty_poll"})
    tallies.listen("s-0000", Effects([outcomes([1.0] * 310)], [*told, late]))
    found = tallies.readings()
    assert found["replaying",] == 1
    assert found["scored_total", "s-0000"] == found["prediction_errors_total", "s-0000"] == 10
    assert found["records_total", "s-0000"] == 0
    assert found["events_total", "alarm"] == found["jobs_started_total",] == 0
    assert found["anomalies_total", "empty_poll"] == 1, "it came after the start"
    assert found["model_age_seconds", "s-0000"] == 1080 and found["jobs_pending",] == 1
    tallies._progress.records["s-0000"] = 310
    assert tallies.readings()["replaying",] == 0
    assert tallies.readings()["records_total", "s-0000"] == 10


def test_a_thousand_streams_are_as_many_figures_as_a_few() -> None:
    few, many = tallies_of(STREAMS_MAX + 1), tallies_of(1000)
    for tallies, streams in ((few, STREAMS_MAX + 1), (many, 1000)):
        for index in range(streams):
            rows = outcomes([1.0] * 50 if index == streams - 1 else [0.0] * 50)
            tallies.listen(f"s-{index:04d}", Effects(outcomes=[rows]))
    found = many.readings()
    assert found.keys() == few.readings().keys()
    assert found["records_total", OTHER] == 200 * (1000 - STREAMS_MAX)
    assert found["error_recent", OTHER] == 1, "the worst"
    assert sum(value for key, value in found.items() if key[0] == "scored_total") == 50_000
    assert found["streams", "yes"] == 1000


def test_values_of_labels_are_bounded() -> None:
    tallies = tallies_of()
    sentence = "no model was trained: 3 labels came, first needs 9"
    odd = [sentence, *(f"kind_{index}" for index in range(500))]
    tallies.listen("s-0000", Effects(events=[event("anomaly", 1, what=what) for what in odd]))
    found = {k[1]: v for k, v in tallies.readings().items() if k[0] == "anomalies_total"}
    assert len(found) <= VALUES_MAX + STREAMS_MAX + 1 and sentence not in found
    assert sum(found.values()) == 501


def test_all_that_is_known_to_come_begins_at_0() -> None:
    engine = Engine(
        policy=Every(kind="every", records=5), alerts=(Rejected(when="rejected", name="no gain"),)
    )
    found = Tallies(engine, {"s": 0}, Progress(1), anomalies=ANOMALIES).readings()
    for key in (
        ("alerts_total", "no gain", "raised", "warning"),
        ("decisions_total", "every", "retrain"),
        ("anomalies_total", "request_failed"),
        ("scored_total", "s"),
        *(("events_total", kind) for kind in KINDS),
    ):
        assert found[key] == 0
    assert set(ANOMALIES) >= set(get_args(What)) - {"articles"}


def test_another_process_gets_the_readings() -> None:
    one, other = tallies_of(pool=lambda: Stats(fits=3)), tallies_of(pool=lambda: Stats(fits=4))
    one.listen("s-0000", Effects(events=[event("job_started", 1)]))
    progress = Progress(9, tallies={"one": one})
    taken = pickle.loads(pickle.dumps(progress))
    assert taken.tallies["one"].readings() == one.readings()
    found = joined([taken.tallies["one"].readings(), other.readings()])
    assert found["fits_total",] == 7 and found["jobs_pending",] == 1
    whole = Progress(9)
    whole.take(taken)
    assert whole.tallies["one"].readings() == one.readings()


def test_names_keep_the_conventions() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    for name, figure in FIGURES.items():
        assert (figure.kind == "counter") == name.endswith("_total"), name
        assert figure.meaning.endswith("."), name
        assert f"`driftline_{name}`" in page, f"driftline_{name} is not in docs/monitoring.md"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_is_the_same_with_them_and_they_are_those_of_the_run(
    tmp_path: Path, workers: int
) -> None:
    feeds = [Made(index) for index in range(3)]
    plain = flow_of(feeds, tmp_path / "plain", NewestTrainer())
    run(plain, 1)
    counted = flow_of(feeds, tmp_path / "counted", NewestTrainer())
    streams = {feed.name: feed.index for feed in feeds}
    tallies = Tallies(ENGINE, streams, counted.progress, pool=Stats)
    counted.listen = together(None, tallies.listen)
    run(counted, workers)
    assert finished(counted) == finished(plain)
    summary = json.loads((tmp_path / "counted" / "summary.json").read_text("utf-8"))
    found = tallies.readings()
    for name, told in summary["streams"].items():
        assert found["records_total", name] == told["records"] == ROWS
        assert found["scored_total", name] == told["scored"]
        assert found["prediction_errors_total", name] == told["errors"]
        assert found["baseline_errors_total", name] == told["baseline_errors"]
    retrains = summary["total"]["retrains"]
    assert found["jobs_total", "promoted"] == retrains["promoted"] + len(feeds)
    assert found["jobs_started_total",] == retrains["started"] + len(feeds)


# --- the server -----------------------------------------------------------------------------


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with Metrics("127.0.0.1", 0) as running:
        yield running


def port_of(metrics: Metrics) -> int:
    return int(metrics.url.split(":")[2].split("/")[0])


def ask(port: int, path: str = "/metrics", host: str = "localhost") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_page_is_what_prometheus_reads(metrics: Metrics) -> None:
    about = {"name": 'a "b"\n', "seed": 1, "scenario": {"policy": {"kind": "never"}}}
    tallies = tallies_of(3)
    tallies.listen("s-0000", Effects(outcomes=[outcomes([1.0])]))
    metrics.show(of_run("run", about, Progress(9, tallies={"one": tallies})))
    with urlopen(metrics.url, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(answer.read().decode()))
    found = {family.name: family for family in families}
    assert found["driftline_records"].type == "counter"
    assert {one.labels["stream"] for one in found["driftline_records"].samples} == {
        "s-0000", "s-0001", "s-0002"
    }  # fmt: skip
    assert found["driftline_run_info"].samples[0].labels["name"] == 'a "b"\n'
    assert found["driftline_champion"].type == "gauge"
    assert found["process_resident_memory_bytes"].samples or not Path("/proc").exists()


def test_other_pages_and_other_sites_get_nothing(metrics: Metrics) -> None:
    port = port_of(metrics)
    assert ask(port, "/")[0] == 404 and ask(port, "/metrics?x=1")[0] == 200
    assert ask(port, host="evil.example")[0] == 403
    assert ask(port, host=f"127.0.0.1:{port}")[0] == 200


def test_a_port_that_is_taken_is_one_sentence(metrics: Metrics) -> None:
    port = port_of(metrics)
    with pytest.raises(InputError) as told:
        Metrics("127.0.0.1", port)
    assert str(told.value).startswith(f"--metrics-port {port}: metrics cannot be served at")
    assert "Address already in use" in str(told.value) and "\n" not in str(told.value)


def test_a_port_can_be_taken_again_at_once() -> None:
    with Metrics("127.0.0.1", 0) as first:
        port = port_of(first)
        assert ask(port)[0] == 200
    with Metrics("127.0.0.1", port):
        assert ask(port)[0] == 200
    with pytest.raises(OSError):
        ask(port)


def test_clients_that_say_nothing_keep_nobody_waiting(metrics: Metrics) -> None:
    port = port_of(metrics)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    assert ask(port)[0] == 200
    for one in silent:
        one.close()


def test_what_is_hidden_is_read_no_more(metrics: Metrics) -> None:
    reading, go = threading.Event(), threading.Event()

    def slow() -> dict[tuple[str, ...], float]:
        reading.set()
        assert go.wait(5)
        read.append(1)
        return {("jobs_pending",): 1.0}

    read: list[int] = []
    metrics.show(slow)
    asking = threading.Thread(target=ask, args=(port_of(metrics),))
    asking.start()
    assert reading.wait(5)
    threading.Timer(0.1, go.set).start()
    metrics.hide(slow)
    assert read == [1], "it waited for the page that was in the making"
    asking.join()
    assert "driftline_jobs_pending" not in ask(port_of(metrics))[1]


# --- live -----------------------------------------------------------------------------------


def live_of(url: str) -> Live:
    return Live(
        name="newsroom",
        newsapi=NewsApi(base_url=url, backoff="0s"),
        topics=topics_of(("science", "sports")),
    )


def test_a_ledger_tells_plan_articles_and_requests(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.metrics.FRESH_SECONDS", 0.0)
    entries = [article(1), article(1), article(2, description=None)]
    clock = [1_000 * SECOND]
    with NewsServer(lambda asked: articles(entries)) as server, Ledger.open(tmp_path) as ledger:
        live = live_of(server.url)
        client, stop = Client(live.newsapi, KEY), threading.Event()
        parts = (live.newsapi, live.topics, 0, ledger, client, lambda: clock[0], stop)
        agent = Agent(*parts, tell=lambda line: None)
        newest: list[int | None] = [None]
        source = of_ledger(ledger, live, lambda: newest[0], lambda: clock[0])
        assert source()["quota_used",] == 0
        agent.run(1)
        clock[0] += 60 * SECOND
        found = of_ledger(ledger, live, lambda: newest[0], lambda: clock[0])()
        assert found["quota_used",] == 2 and found["quota_limit",] == live.newsapi.plan.requests
        assert found["articles_total", "science", "kept"] == 1
        assert found["articles_total", "science", "duplicate"] == 1
        assert found["articles_total", "sports", "no_description"] == 1
        assert found["newsapi_requests_total", "sports"] == 1
        assert found["next_poll_timestamp_seconds",] == 1_000 + 2 * 12 * 3600 / 50
        assert found["lag_seconds",] == 0
        newest[0] = 990 * SECOND
        assert source()["lag_seconds",] == 70

        opened = len(ledger._database._open)
        metrics.show(source)
        for _ in range(5):
            assert "driftline_ledger_up 1.0" in ask(port_of(metrics))[1]
        assert len(ledger._database._open) == opened + 1, "one thread asks, whoever wants to know"
        metrics.hide(source)
    gone = of_ledger(ledger, live, lambda: None, lambda: clock[0])()
    assert gone == {("ledger_up",): 0.0, ("lag_seconds",): 0.0}


def test_a_live_run_is_measured_while_it_runs(tmp_path: Path, metrics: Metrics) -> None:
    live, progress = live_of("http://127.0.0.1:1/v2"), Progress(0)
    about = {"name": "newsroom", "seed": 0, "scenario": {"policy": {"kind": "adwin"}}}
    with Ledger.open(tmp_path) as ledger:
        parts = (live, ledger, InlineTrainer(), progress, 0, lambda: None, lambda: SECOND)
        with measured(None, about, *parts) as count:  # type: ignore[arg-type]
            assert count is None and not progress.tallies
        with measured(metrics, about, *parts) as count:  # type: ignore[arg-type]
            assert count is not None
            count(live.stream, Effects(outcomes=[outcomes([1.0, 0.0])]))
            page = ask(port_of(metrics))[1]
            assert 'driftline_scored_total{stream="newsroom-0000"} 2.0' in page
            assert "driftline_replaying 0.0" in page and "driftline_quota_used 0.0" in page
    page = ask(port_of(metrics))[1]
    assert "driftline_quota_used" not in page and "driftline_scored_total" in page
