"""The speed benchmark runs, and its figures belong together; how large they are is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed import ceiling, peers
from benchmarks.speed.arms import ARMS, fitting
from benchmarks.speed.cases import GROUPS, Case, all_cases, chosen
from benchmarks.speed.clock import Sample
from benchmarks.speed.hotspots import Watcher, place
from benchmarks.speed.job import FEATURES, TAPE_ROWS, Made, settings, tape
from benchmarks.speed.report import text
from benchmarks.speed.results import REFERENCES, collected, differences, machine, summary
from benchmarks.speed.turns import Outcome
from engine.batch import Floats, concat
from tests.e2e.driving import ROOT

needs_compiler = pytest.mark.skipif(ceiling.compiler() is None, reason="there is no C compiler")


# --- the whole ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the program as `make bench-speed ARGS=--quick` does."""
    out = tmp_path_factory.mktemp("speed")
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "engine" in done.stdout and "records/s" in done.stdout
    return out


@pytest.fixture(scope="module")
def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf-8"))
    return found


def numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in a JSON document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.slow
def test_every_case_is_measured_or_says_why_not(results: dict[str, Any]) -> None:
    names = {case.name for case in all_cases(1 << 13, quick=True, processes=True)}
    names -= {case.name for case in all_cases(1 << 13, quick=True, processes=False)}
    told = {*results["cases"], *results["skipped"]}
    wanted = {case.name for case in all_cases(1 << 13, quick=True, processes=False)}
    assert wanted <= told <= wanted | names
    assert not results["failed"]
    assert set(results["skipped"]) <= {"capymoa", "ceiling"}


@pytest.mark.slow
def test_figures_are_positive_and_ordered(results: dict[str, Any]) -> None:
    for name, case in results["cases"].items():
        speed = case["records_per_second"]
        assert 0 < speed["min"] <= speed["q1"] <= speed["median"], name
        assert speed["median"] <= speed["q3"] <= speed["max"], name
        for sample in case["samples"]:
            again = case["records"] / sample["seconds"]
            assert sample["records_per_second"] == pytest.approx(again), name
        assert all(number >= 0 for number in numbers(case)), name
    assert all(case["peak_mb"]["min"] > 10 for case in of_group(results, "memory"))


def of_group(results: dict[str, Any], group: str) -> list[dict[str, Any]]:
    return [case for case in results["cases"].values() if case["group"] == group]


@pytest.mark.slow
def test_ratios_are_those_of_the_medians(results: dict[str, Any]) -> None:
    cases = results["cases"]
    for name, case in cases.items():
        for other, ratio in case["times"].items():
            assert other in REFERENCES[case["group"]]
            medians = [cases[one]["records_per_second"]["median"] for one in (name, other)]
            assert ratio == pytest.approx(medians[0] / medians[1])
    assert {"user_loop", "river_hat"} <= set(cases["engine"]["times"])


@pytest.mark.slow
def test_fits_are_counted(results: dict[str, Any]) -> None:
    cold, cached = results["cases"]["fits_cold"], results["cases"]["fits_cached"]
    assert cold["fits"]["median"] == cached["cached"]["median"] > 0
    assert cached["fits"]["median"] == 0


@pytest.mark.slow
def test_results_do_not_say_which_machine_it_was(out: Path, results: dict[str, Any]) -> None:
    import getpass
    import platform

    said = (out / "results.json").read_text("utf-8") + (out / "speed.svg").read_text("utf-8")
    assert str(out) not in said and str(ROOT) not in said and str(Path.home()) not in said
    assert not {platform.node(), getpass.getuser()} & set(results["machine"].values())
    assert results["machine"]["cores"] and results["versions"]["catboost"]


@pytest.mark.slow
def test_the_plot_is_a_picture(out: Path) -> None:
    assert "<svg" in (out / "speed.svg").read_text("utf-8")[:2000]


# --- the parts ------------------------------------------------------------------------------


def test_what_is_called_by_no_name_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.speed", "--arms", "enginge"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "enginge" in done.stderr


@pytest.mark.parametrize("quick", [True, False])
def test_cases_fit_together(quick: bool) -> None:
    cases = all_cases(1 << 19, quick=quick, processes=True)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    assert {case.group for case in cases} == set(GROUPS) == set(REFERENCES)
    assert {case.arm for case in cases} == set(ARMS)
    for case in cases:
        assert case.records % case.streams == 0 and TAPE_ROWS % case.batch == 0
    if not quick:
        assert {one for found in REFERENCES.values() for one in found} <= set(names)
    assert [case.name for case in chosen(cases, ["engine_*", "memory"])][:2] == [
        "engine_8192",
        "engine_river",
    ]


@pytest.mark.parametrize("size", [64, 1024, 8192])
def test_the_job_does_not_depend_on_the_batch(size: int) -> None:
    rows = 20_000
    whole, batch = (concat(list(Made(rows).batches(one))) for one in (4096, size))
    assert len(batch) == rows and batch.first == 0
    assert set(np.diff(batch.times)) == {1_000_000}
    assert (whole.table.numbers == batch.table.numbers).all()
    assert (whole.labels == batch.labels).all()


def test_the_worlds_differ_as_told() -> None:
    before, concept, moved = tape(0), tape(1), tape(2)
    shift = moved.numbers.mean(axis=0) - concept.numbers.mean(axis=0)
    assert (np.abs(shift[3:5] - 1) < 0.05).all() and np.abs(np.delete(shift, [3, 4])).max() < 0.05
    product = np.sign(before.numbers[:, 1] * before.numbers[:, 2])
    after = np.sign(concept.numbers[:, 1] * concept.numbers[:, 2])
    assert (product * (before.truth - 0.5)).mean() > 0.05
    assert (after * (concept.truth - 0.5)).mean() < -0.05


def alarms_of_river(errors: list[float], columns: list[list[float]]) -> dict[str, int]:
    adwin, page_hinkley, tests = peers.detectors()
    found = {"adwin": 0, "page_hinkley": 0, "features": 0}
    for error in errors:
        for name, detector in (("adwin", adwin), ("page_hinkley", page_hinkley)):
            detector.update(error)
            found[name] += detector.drift_detected
    for values, test in zip(columns, tests, strict=True):
        for value in values:
            test.update(value)
            found["features"] += test.drift_detected
    return found


def drifting(seed: int) -> tuple[Floats, Floats]:
    """Return errors and features that change every few thousand records."""
    chance = np.random.default_rng(seed)
    rates, levels = chance.random(6) * 0.6, chance.normal(size=(6, FEATURES))
    errors = (chance.random(12_000) < np.repeat(rates, 2000)).astype(float)
    steady = chance.normal(size=(12_000, FEATURES))
    return errors, np.asfortranarray(steady + np.repeat(levels, 2000, axis=0))


@needs_compiler
@pytest.mark.parametrize("seed", range(3))
def test_the_ceiling_raises_rivers_alarms(seed: int, tmp_path: Path) -> None:
    errors, features = drifting(seed)
    library = ceiling.compiled(tmp_path)
    ours = ceiling.Compiled(library, np.zeros(FEATURES), np.ones(FEATURES))
    for start in range(0, len(errors), 700):
        ours.errors(errors[start : start + 700])
        ours.features(features[start : start + 700])
    columns = np.clip(features, -5, 5).T.tolist()
    expected = alarms_of_river(errors.tolist(), columns)
    assert min(expected.values()) > 0
    assert ours.alarms == expected


def test_the_engine_is_given_the_detectors_of_the_others() -> None:
    kinds = [(one.kind, one.on) for one in settings().detectors]
    assert kinds == [
        ("adwin", "error"),
        ("page_hinkley", "error"),
        ("page_hinkley", "features"),
    ]


def test_spread_of_one_sample_is_none() -> None:
    assert set(summary([4.0]).values()) == {4.0}


def outcome(name: str, seconds: float, **more: float) -> Outcome:
    case = Case(name, "peers", "engine", 1000, "made up")
    return Outcome(case, [Sample(1000, seconds, seconds, dict(more))])


def test_differences_are_in_nanoseconds_and_times() -> None:
    outcomes = [outcome("engine", 0.003), outcome("engine_no_log", 0.002)]
    outcomes += [outcome("engine_river", 0.006)]
    found = collected(outcomes, before=machine(), seconds=1.0, quick=True)
    assert found["differences"] == pytest.approx(
        {"run_log_ns_per_record": 1000.0, "speed_with_compiled_detectors": 2.0}
    )
    assert differences({}) == {}


def test_a_short_run_says_nothing_of_its_lasting_speed() -> None:
    outcomes = [outcome("a", 1.0, start_seconds=0.9), outcome("b", 1.0, start_seconds=0.2)]
    cases = collected(outcomes, before={}, seconds=1.0, quick=True)["cases"]
    assert "records_per_second_once_started" not in cases["a"]
    assert cases["b"]["records_per_second_once_started"]["median"] == pytest.approx(1250)


def test_what_was_skipped_or_failed_is_told() -> None:
    skipped = Outcome(Case("capymoa", "peers", "capymoa", 1, ""), skipped="not installed")
    failed = Outcome(Case("engine", "peers", "engine", 1, ""), failure="Traceback ...")
    said = text(collected([skipped, failed], before={}, seconds=1.0, quick=True))
    assert "capymoa: skipped, not installed" in said and "engine: failed" in said


def test_what_a_class_does_not_take_is_left_out() -> None:
    assert fitting(Sample, records=1, seconds=2.0, colour="blue") == Sample(1, 2.0)


def test_a_profile_tells_functions_apart() -> None:
    watcher = Watcher()

    def busy() -> Sample:
        return Sample(sum(at * at for at in range(1_000_000)), 1.0)

    watcher.during(busy)
    assert watcher.looks >= 3
    names = [place(one.co_filename, one.co_firstlineno, one.co_name) for one in watcher.whole]
    assert any(name.startswith("tests/benchmarks/test_speed.py") for name in names)
