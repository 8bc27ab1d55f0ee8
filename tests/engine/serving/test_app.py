"""The server answers as the stream did, says what is wrong, and follows the champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.champions import promote
from engine.errors import InputError
from engine.places import RegistryGone
from engine.registry import Registry
from engine.runlog import Run
from engine.serving.logbook import Logbook
from engine.serving.running import choose
from engine.serving.watching import Watcher
from tests.e2e.driving import driftline
from tests.engine.registered import Client, Registered, serving

pytestmark = pytest.mark.xdist_group("registry")


def test_each_version_answers_as_the_stream_did(registered: Registered) -> None:
    rows, registry = registered.rows(), registered.registry
    columns = Run(registered.out).outcomes(registered.name).to_pydict()
    numbers = {
        int(one.tags["driftline.model"]): one.number for one in registry.versions(registered.name)
    }
    before = registry.aliases(registered.name)["champion"]
    compared = 0
    with serving(registered.name, lambda: registry) as (client, watcher):
        for model in sorted(set(columns["model"]) - {None}):
            promote(registry, registered.name, numbers[model])
            watcher.look()
            mine = [at for at, one in enumerate(columns["model"]) if one == model]
            code, found = client.ask("POST", "/predict", {"rows": [rows[at] for at in mine]})
            assert (code, found["version"]) == (200, numbers[model])
            for at, answer in zip(mine, found["predictions"], strict=True):
                assert answer["label"] == columns["prediction"][at]
                assert answer["score"] == columns["score"][at], "to the last bit"
                compared += 1
        code, one = client.ask("POST", "/predict", {"row": rows[mine[0]]})
        assert one["predictions"] == found["predictions"][:1]
    promote(registry, registered.name, before)
    assert compared > 600


def test_it_waits_for_a_champion(registered: Registered) -> None:
    with serving("nobody", lambda: registered.registry) as (client, _):
        code, found = client.ask("GET", "/healthz")
        assert (code, found["status"]) == (503, "waiting")
        assert found["why"] == "nobody has no champion in the registry"
        code, found = client.ask("POST", "/predict", {"rows": []})
        assert code == 503 and "no model yet" in found["error"]
        assert client.ask("GET", "/")[0] == 200


def test_it_keeps_answering_when_the_registry_is_gone(registered: Registered) -> None:
    row = registered.rows()[0]

    with serving(registered.name, lambda: registered.registry) as (client, watcher):
        good = client.ask("POST", "/predict", {"row": row})

        def gone(name: str) -> None:
            raise RegistryGone("http://far cannot be reached: nobody answers there")

        class Absent:
            champion = staticmethod(gone)

        watcher._registry = Absent()  # type: ignore[assignment]
        assert not watcher.look()
        assert client.ask("POST", "/predict", {"row": row}) == good
        code, found = client.ask("GET", "/healthz")
        assert code == 200 and "cannot be reached" in found["registry"]
        assert "driftline_registry_up 0.0" in client.ask("GET", "/metrics")[1]
        watcher._registry = registered.registry
        watcher.look()
        assert client.ask("GET", "/healthz")[1]["registry"] == "ok"


def test_a_version_that_cannot_be_loaded_leaves_the_old_one(
    registered: Registered, own_name: str
) -> None:
    registry = registered.registry
    with registry.ask() as client:
        client.create_registered_model(own_name)
        source = registry.champion(registered.name)
        assert source is not None
        for _ in range(2):
            client.create_model_version(own_name, f"runs:/{source.run_id}/model", source.run_id)
        client.create_model_version(own_name, "runs:/none/model", None)
    promote(registry, own_name, 1)
    watcher = Watcher(own_name, lambda: registry)
    assert watcher.look() and watcher.current is not None
    promote(registry, own_name, 3)
    assert not watcher.look() and watcher.current.version.number == 1
    assert "version 3 of" in watcher.trouble
    promote(registry, own_name, 2)
    assert watcher.look() and watcher.current.version.number == 2
    kept = watcher.current
    promote(registry, own_name, 1)
    watcher.look()
    promote(registry, own_name, 2)
    watcher.look()
    assert watcher.current is kept, "it was still loaded"
    watcher.close()


def test_requests_that_are_refused(registered: Registered) -> None:
    row = registered.rows()[0]
    with serving(registered.name, lambda: registered.registry) as (client, _):
        assert client.ask("POST", "/predict", {"row": {**row, "y": 1}})[0] == 422
        assert client.ask("POST", "/predict", b"nope")[0] == 422
        origin = {"Origin": "http://elsewhere.example"}
        assert client.ask("POST", "/predict", {"row": row}, origin)[0] == 403
        assert client.ask("POST", "/predict", {"row": row}, {"Host": "evil.example"})[0] == 403
        assert client.ask("POST", "/labels", {"id": "a", "label": "no"})[0] == 422
        assert client.ask("GET", "/docs") == (404, {"error": "Not Found"})
        code, _ = client.ask("POST", "/predict", b" " * (33 << 20))
        assert code == 413


def test_figures_count(registered: Registered) -> None:
    row = registered.rows()[0]
    with serving(registered.name, lambda: registered.registry) as (client, _):
        client.ask("POST", "/predict", {"rows": [row] * 300})
        client.ask("POST", "/predict", {"row": row})
        client.ask("POST", "/predict", {"row": {}})
        code, text = client.ask("GET", "/metrics")
        current = registered.registry.aliases(registered.name)["champion"]
    assert code == 200
    for line in (
        'driftline_requests_total{code="200",path="/predict"} 2.0',
        'driftline_requests_total{code="422",path="/predict"} 1.0',
        "driftline_rows_total 301.0",
        'driftline_errors_total{kind="input"} 1.0',
        "driftline_request_seconds_count 3.0",
        f"driftline_champion_version {float(current)}",
        "driftline_registry_up 1.0",
    ):
        assert line in text, line
    assert "driftline_model_age_seconds" in text


def test_the_front_page_says_what_to_ask(registered: Registered) -> None:
    with serving(registered.name, lambda: registered.registry) as (client, _):
        code, found = client.ask("GET", "/")
    assert code == 200 and found["model"] == registered.name
    assert found["columns"] == {"numeric": ["x", "z"], "categorical": ["colour", "size"]}
    assert found["classes"] == ["no", "yes"]


def test_a_model_must_be_chosen_where_there_are_several(
    registered: Registered, own_name: str
) -> None:
    with registered.registry.ask() as client:
        client.create_registered_model(own_name)
    with pytest.raises(InputError, match=r"choose one of its models with --model NAME: .*stable"):
        choose(registered.registry)
    assert isinstance(registered.registry, Registry)


def ask_and_label(client: Client, registered: Registered) -> int:
    """Ask for all rows, and tell the labels of most; return how many."""
    rows, told = registered.rows(), 0
    labels = Run(registered.out).outcomes(registered.name)["label"].to_pylist()
    for start in range(0, len(rows), 100):
        code, found = client.ask("POST", "/predict", {"rows": rows[start : start + 100]})
        assert code == 200
        pairs = zip(found["predictions"], labels[start : start + 100], strict=True)
        entries = [{"id": one["id"], "label": label} for one, label in pairs][:90]
        code, taken = client.ask("POST", "/labels", {"labels": entries})
        assert (code, taken) == (200, {"taken": 90})
        told += 90
    return told


def test_what_was_answered_is_a_source_for_a_run(registered: Registered, tmp_path: Path) -> None:
    book = Logbook(tmp_path / "log", file_bytes=40_000)
    with serving(registered.name, lambda: registered.registry, book) as (client, _):
        told = ask_and_label(client, registered)
        client.ask("POST", "/labels", {"id": "nobody-0", "label": "no"})
    answers = sorted((tmp_path / "log").glob("answers-*.jsonl"))
    assert len(answers) > 2 and max(path.stat().st_size for path in answers) < 100_000
    with answers[-1].open("a") as file:
        file.write('{"id": "torn')
    done = driftline("serve", "join", tmp_path / "log", tmp_path / "answered.parquet")
    assert done.code == 0, done.err
    assert f"900 rows, {told} of them labelled; 1 labels belong to no answer" in done.out
    source = done.out.strip().splitlines()[-1].strip()
    scenario = f"source: {source}\nmodel: {{kind: catboost, iterations: 8, depth: 3}}\n"
    scenario += "policy: {kind: every, records: 200}\nretraining: {first: 200, window: 200}\n"
    (tmp_path / "closed.yaml").write_text(scenario, "utf-8")
    done = driftline("run", tmp_path / "closed.yaml", "--out", tmp_path / "again")
    assert done.code == 0, done.err
    total = json.loads((tmp_path / "again" / "summary.json").read_text("utf-8"))["total"]
    assert total["records"] == 900 and total["retrains"]["promoted"] >= 2
    again = Run(tmp_path / "again").outcomes("closed-0000").to_pydict()
    first = Run(registered.out).outcomes(registered.name).to_pydict()
    same = [a == b for a, b in zip(again["label"], first["label"], strict=True) if a is not None]
    assert len(same) == told and all(same)


def test_a_logbook_that_holds_too_little_is_said(tmp_path: Path) -> None:
    done = driftline("serve", "join", tmp_path, tmp_path / "t.parquet")
    assert done.code == 2 and "holds no answers" in done.err
    done = driftline("serve", "join", tmp_path, tmp_path / "t.csv")
    assert done.code == 2 and "must end in .parquet" in done.err
