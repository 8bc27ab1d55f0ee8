"""The registry keeps what answers, says who is champion, and changes that in one step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from engine.batch import Schema, table_of
from engine.champions import Move, challenge, dismiss, file_lock, moves_of, promote, rollback
from engine.dossiers import Dossier
from engine.errors import EngineError, InputError
from engine.places import Place, RegistryGone, Version
from engine.registry import Registry
from engine.serving.loading import load
from engine.settings import CatBoostModel, PythonModel
from engine.training.jobs import Fitted, Job, Prediction
from engine.training.models import ConstantPredictor, PythonPredictor
from engine.training.store import Store
from tests.e2e.driving import ROOT
from tests.engine.registered import Registered

pytestmark = pytest.mark.xdist_group("registry")


def version(registered: Registered, name: str, model: int, folder: Path) -> int:
    """Register a constant model."""
    job = Job(table_of({"x": [1.0]}), np.array(["a"], dtype=object), CatBoostModel(), model)
    job_id = job.identity()
    Store(folder).save(job_id, job, Fitted(ConstantPredictor("a")))
    dossier = Dossier(name, "by-hand-1", "s-0000", model, job_id[:16])
    number = registered.registry.register(dossier, folder / job_id[:2] / job_id)
    assert number is not None
    return number


@pytest.fixture
def three(registered: Registered, own_name: str, tmp_path: Path) -> str:
    """Return a model of three versions, of which the first is champion."""
    for model in range(3):
        version(registered, own_name, model, tmp_path)
    promote(registered.registry, own_name, 1)
    return own_name


# --- what is registered ---------------------------------------------------------------------


def test_every_job_of_a_run_is_a_version(registered: Registered) -> None:
    events = registered.events()
    ready = [event for event in events if event["kind"] == "job_ready"]
    versions = registered.registry.versions(registered.name)
    assert len(ready) >= 4
    assert [one.tags["driftline.model"] for one in reversed(versions)] == [
        str(event["model"]) for event in ready
    ]
    begun = {e["model"]: e for e in events if e["kind"] == "job_started"}
    for one in versions:
        model = int(one.tags["driftline.model"])
        assert one.tags["driftline.job"] == begun[model]["job"]
        params, metrics = registered.registry.run_of(one)
        assert params["model.iterations"] == "8"
        assert metrics["window.first"] == begun[model]["window"]["first"]
        assert metrics["trees"] == 8


def test_verdicts_and_aliases_are_those_of_the_events(registered: Registered) -> None:
    verdicts = [e for e in registered.events() if e["kind"] in ("promoted", "rejected")]
    assert {event["kind"] for event in verdicts} == {"promoted", "rejected"}
    versions = {
        int(one.tags["driftline.model"]): one
        for one in registered.registry.versions(registered.name)
    }
    for event in verdicts:
        assert versions[event["model"]].tags["driftline.verdict"] == event["kind"]
        if "challenger_error" in event:
            _, metrics = registered.registry.run_of(versions[event["model"]])
            assert metrics["verdict.challenger_error"] == event["challenger_error"]
    promoted = [event["model"] for event in verdicts if event["kind"] == "promoted"]
    aliases = registered.registry.aliases(registered.name)
    assert aliases == {
        "champion": versions[promoted[-1]].number,
        "previous": versions[promoted[-2]].number,
    }


def test_registering_twice_is_registering_once(
    registered: Registered, own_name: str, tmp_path: Path
) -> None:
    assert [version(registered, own_name, model, tmp_path) for model in (0, 0, 1)] == [1, 1, 2]
    assert len(registered.registry.versions(own_name)) == 2


def test_a_failed_job_is_a_run_without_a_version(registered: Registered, own_name: str) -> None:
    dossier = Dossier(own_name, "by-hand-1", "s-0000", 7, "5f", failed="no labels")
    assert registered.registry.register(dossier, None) is None
    assert registered.registry.register(dossier, None) is None
    with registered.registry.ask() as client:
        experiment = client.get_experiment_by_name("by")
        found = client.search_runs(
            [experiment.experiment_id], f"tags.`driftline.key` = '{dossier.key}'"
        )
    assert [run.info.status for run in found] == ["FAILED"]
    assert own_name not in registered.registry.names()


def test_a_job_whose_result_is_gone_is_said(registered: Registered, own_name: str) -> None:
    with pytest.raises(EngineError, match="is in no store any more"):
        registered.registry.register(Dossier(own_name, "r-1-5f", "s-0000", 0, "5f"), None)


class Echo:
    """A user's own model."""

    def fit(self, frame: Any, labels: Any) -> Echo:
        return self

    def predict(self, frame: Any) -> list[str]:
        return list(frame["c"].fillna("none"))


def test_a_users_own_model_is_kept_too(
    registered: Registered, own_name: str, tmp_path: Path
) -> None:
    table = table_of({"c": ["a", None]}, categorical=["c"])
    settings = PythonModel(kind="python", factory="some:model")
    job = Job(table, np.array(["a", "b"], dtype=object), settings, 7, str(ROOT))
    fitted = Fitted(PythonPredictor(table.schema, ("a", "b"), Echo(), True))
    Store(tmp_path).save(job.identity(), job, fitted)
    entry = tmp_path / job.identity()[:2] / job.identity()
    dossier = Dossier(own_name, "by-hand-1", "s-0000", 0, job.identity()[:16])
    assert registered.registry.register(dossier, entry) == 1
    artifact = registered.registry.fetch(registered.registry.version(own_name, 1), tmp_path)
    found: Prediction = load(artifact / "data").answers(table)
    assert found.values.tolist() == ["a", "none"]


def test_an_artifact_names_its_columns(registered: Registered, tmp_path: Path) -> None:
    champion = registered.registry.champion(registered.name)
    assert isinstance(champion, Version)
    artifact = load(registered.registry.fetch(champion, tmp_path) / "data")
    assert artifact.schema == Schema(("x", "z"), ("colour", "size"))


def test_a_damaged_artifact_is_refused(registered: Registered, tmp_path: Path) -> None:
    champion = registered.registry.champion(registered.name)
    assert champion is not None
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(registered.registry.fetch(champion, tmp_path) / "data", copy)
    model = next(copy.glob("*/*/model.cbm"))
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(EngineError, match="is damaged"):
        load(copy)
    (copy / "driftline.json").unlink()
    with pytest.raises(EngineError, match="not registered by Driftline"):
        load(copy)


@pytest.mark.slow
def test_mlflow_itself_loads_a_champion(registered: Registered) -> None:
    code = (
        "import mlflow, pandas, sys\n"
        f"mlflow.set_tracking_uri({registered.registry.place.uri!r})\n"
        f"model = mlflow.pyfunc.load_model('models:/{registered.name}@champion')\n"
        "rows = {'size': ['small'], 'colour': [None], 'z': [3.0], 'x': [float('nan')]}\n"
        "print(model.predict(pandas.DataFrame(rows)).to_json(orient='records'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])
    assert row["label"] in ("yes", "no") and 0.5 <= row["score"] <= 1


# --- who is champion ------------------------------------------------------------------------


def test_promotion_moves_three_aliases(registered: Registered, three: str) -> None:
    registry = registered.registry
    challenge(registry, three, 2)
    assert registry.aliases(three) == {"champion": 1, "challenger": 2}
    move = promote(registry, three, 2, "me")
    assert (move.was, move.to, move.by, move.done) == (1, 2, "me", True)
    assert registry.aliases(three) == {"champion": 2, "previous": 1}
    promote(registry, three, 2)
    assert registry.aliases(three) == {"champion": 2, "previous": 1}
    promote(registry, three, 3)
    assert registry.aliases(three) == {"champion": 3, "previous": 2}
    champion = registry.champion(three)
    assert champion is not None and champion.number == 3


def test_another_challenger_stays(registered: Registered, three: str) -> None:
    registry = registered.registry
    challenge(registry, three, 3)
    promote(registry, three, 2)
    dismiss(registry, three, 2)
    assert registry.aliases(three) == {"champion": 2, "previous": 1, "challenger": 3}
    dismiss(registry, three, 3)
    assert "challenger" not in registry.aliases(three)


def test_rollback_swaps_champion_and_previous(registered: Registered, three: str) -> None:
    registry = registered.registry
    with pytest.raises(InputError, match="no previous champion"):
        rollback(registry, three)
    promote(registry, three, 2)
    rollback(registry, three)
    assert registry.aliases(three) == {"champion": 1, "previous": 2}
    rollback(registry, three)
    assert registry.aliases(three) == {"champion": 2, "previous": 1}


def test_nobody_is_made_champion_who_is_not_there(registered: Registered, three: str) -> None:
    with pytest.raises(InputError, match="has no version 9; its aliases: @champion"):
        promote(registered.registry, three, 9)
    with pytest.raises(InputError, match="there is no such model"):
        promote(registered.registry, "nobody", 1)


class Crash(BaseException):
    """The process is gone."""


class Crashing:
    """MLflow's client, which is gone at the n-th write."""

    def __init__(self, client: Any, writes: int) -> None:
        self.client, self.left = client, writes

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.client, name)
        if not name.startswith(("set_", "delete_")):
            return method

        def write(*args: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return method(*args)

        return write


@pytest.mark.parametrize("writes", range(5))
def test_a_move_that_was_interrupted_is_made_good(
    registered: Registered, three: str, writes: int
) -> None:
    registry = registered.registry
    promote(registry, three, 2)
    challenge(registry, three, 3)
    broken = Registry(registry.place)
    broken.client = Crashing(broken.client, writes)
    with pytest.raises(Crash):
        promote(broken, three, 3)
    champion = registry.aliases(three)["champion"]
    assert champion == (2 if writes < 2 else 3), "the second write is the switch"
    rollback(registry, three)  # whoever comes next
    assert registry.aliases(three)["champion"] == (1 if writes < 2 else 2)
    assert registry.aliases(three)["previous"] == champion
    assert all(move.done for move in moves_of(registry, three))


def test_two_at_once_take_turns(registered: Registered, three: str) -> None:
    place, problems = registered.registry.place, []

    def go(numbers: list[int]) -> None:
        try:
            own = Registry(place)
            for number in numbers:
                promote(own, three, number, f"by {number}")
        except Exception as error:
            problems.append(error)

    threads = [Thread(target=go, args=(order,)) for order in ([2, 3, 1, 2], [3, 1, 2, 3])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = moves_of(registered.registry, three)
    assert not problems and len(moves) >= 4
    pairs = pairwise(moves)
    assert all(later.was == earlier.to for earlier, later in pairs), moves
    aliases = registered.registry.aliases(three)
    assert (aliases["champion"], aliases["previous"]) == (moves[-1].to, moves[-1].was)


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.champions.WAIT_SECONDS", 0.1)
    with (
        file_lock(tmp_path / "lock"),
        pytest.raises(EngineError, match="another process holds this lock"),
        file_lock(tmp_path / "lock"),
    ):
        pass


def test_moves_that_somebody_wrote_by_hand_do_no_harm(registered: Registered, three: str) -> None:
    with registered.registry.ask() as client:
        client.set_registered_model_tag(three, "driftline.moves", "[1]")
    assert moves_of(registered.registry, three) == []
    assert promote(registered.registry, three, 2).was == 1
    assert moves_of(registered.registry, three)[-1] == Move(
        moves_of(registered.registry, three)[-1].at, 1, 2, "hand"
    )


# --- where it is ----------------------------------------------------------------------------


def test_a_folder_without_a_registry_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no registry here"):
        Registry(Place.of(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_said() -> None:
    with pytest.raises(RegistryGone, match="nobody answers there"):
        Registry(Place.of("http://127.0.0.1:9"))


def test_a_folder_can_be_moved(registered: Registered, tmp_path: Path) -> None:
    import shutil

    assert registered.registry.place.folder is not None
    shutil.copytree(registered.registry.place.folder, tmp_path / "elsewhere")
    moved = Registry(Place.of(tmp_path / "elsewhere"))
    champion = moved.champion(registered.name)
    assert champion is not None
    found = moved.fetch(champion, tmp_path / "into")
    assert found.is_relative_to(tmp_path / "elsewhere")
    assert load(found / "data").schema.numeric == ("x", "z")


@pytest.mark.slow
def test_a_new_registry_leaves_nothing_else_and_says_nothing_else(
    registered: Registered, own_folder: Path
) -> None:
    words = [sys.executable, "-m", "engine.cli", "models", "register", str(registered.out)]
    code = "from engine.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words[3:]], capture_output=True, text=True, cwd=own_folder
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [path.name for path in own_folder.iterdir()] == ["registry"]
    assert "champion is version" in done.stdout
