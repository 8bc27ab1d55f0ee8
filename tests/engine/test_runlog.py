"""The run directory: parts, whole and torn, and the lasting form that they are brought into."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import EngineError, InputError
from engine.events import Event
from engine.extras import TracePoint
from engine.ledger import NO_MODEL, UNDATED, Coded, Outcomes, join
from engine.parts import TRACES, outcome_schema, read_part, to_arrow
from engine.runlog import Run, RunDirectory, tidy
from engine.settings import Prices
from engine.state import Effects

ABOUT = {
    "scenario": {
        "policy": {"kind": "never"},
        "prices": {"error": 1},
        "labels": {"task": "classification"},
    },
    "source": {},
}


def outcomes(first: int, rows: int) -> Outcomes:
    """Return scored rows of classification: every third answer is wrong."""
    seqs = np.arange(first, first + rows, dtype=np.int64)
    errors = (seqs % 3 == 0).astype(np.float64)
    return Outcomes(
        seqs,
        seqs * 1_000_000,
        np.full(rows, "a", dtype=object),
        np.full(rows, 0.75),
        np.array(["b" if error else "a" for error in errors], dtype=object),
        errors,
        np.zeros(rows, dtype=np.int64),
        errors,
        seqs,
        seqs * 1_000_000,
        seqs * 1_000_000,
    )


def event(stream: str, time: int, seq: int, n: int, kind: Any = "anomaly") -> Event:
    return Event(kind, stream, time, seq, n, {"what": f"{stream} {n}"})


def finish(directory: RunDirectory, streams: Sequence[str]) -> Run:
    """Finish a run and open it."""
    directory.finish(streams, [False] * len(streams), Prices(), 100)
    (directory.path / "run.json").write_text(json.dumps(ABOUT), "utf-8")
    return Run(directory.path)


def written(path: Path, *effects: Effects, streams: Sequence[str] = ("s-0000",)) -> Run:
    """Return a finished run of which the first stream had these effects."""
    directory = RunDirectory(path, "classification")
    writer = directory.parts.writer(0)
    for one in effects:
        writer.write(streams[0], one)
    writer.close()
    return finish(directory, streams)


# --- outcomes -------------------------------------------------------------------------------


def test_what_is_undefined_is_null() -> None:
    rows = replace(
        outcomes(0, 2),
        predictions=np.array([None, "a"], dtype=object),
        scores=np.array([np.nan, 0.5]),
        labels=np.array([None, "b"], dtype=object),
        errors=np.array([np.nan, 1.0]),
        models=np.array([NO_MODEL, 0]),
        baseline_errors=np.array([np.nan, 1.0]),
        label_times=np.array([UNDATED, 5]),
    )
    batch = to_arrow("s-0000", rows, outcome_schema("classification"))
    nulls = {name for name, value in batch.slice(0, 1).to_pylist()[0].items() if value is None}
    assert nulls == {
        "label_time", "prediction", "score", "label", "error", "model", "baseline_error"
    }  # fmt: skip
    assert None not in batch.slice(1, 1).to_pylist()[0].values()


def test_labels_of_regression_are_numbers_and_null_where_missing() -> None:
    rows = replace(
        outcomes(0, 2), predictions=np.array([1.5, np.nan]), labels=np.array([np.nan, 2.5])
    )
    batch = to_arrow("s-0000", rows, outcome_schema("regression"))
    assert batch.column("prediction").to_pylist() == [1.5, None]
    assert batch.column("label").to_pylist() == [None, 2.5]


@pytest.mark.parametrize(("rows", "groups"), [(10, [4, 4, 2]), (8, [4, 4]), (3, [3]), (0, [])])
@pytest.mark.parametrize("size", [1, 3, 4, 10])
def test_row_groups_are_of_one_size_however_rows_came(
    rows: int, groups: list[int], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runlog.ROW_GROUP", 4)
    whole = written(tmp_path / "whole", Effects([outcomes(0, rows)]))
    pieces = [outcomes(at, min(size, rows - at)) for at in range(0, rows, size)]
    cut = written(tmp_path / "cut", *(Effects([piece]) for piece in pieces))
    one, other = (run.path / "outcomes" / "s-0000.parquet" for run in (whole, cut))
    assert one.read_bytes() == other.read_bytes()
    file = pq.ParquetFile(other)
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == groups
    assert cut.outcomes("s-0000", ["seq"])["seq"].to_pylist() == list(range(rows))
    assert cut.summary["total"]["records"] == rows
    assert cut.summary["total"]["errors"] == sum(seq % 3 == 0 for seq in range(rows))


def test_rows_of_streams_in_one_part_are_told_apart(tmp_path: Path) -> None:
    streams = ["s-0000", "s-0001"]
    directory = RunDirectory(tmp_path, "classification")
    writer = directory.parts.writer(0)
    for first in (0, 5):
        for at, name in enumerate(streams):
            point = TracePoint(first, first * 1_000_000, {"error": float(at)})
            effects = Effects([outcomes(first, 5)], [], [point], [f'{{"seq":{first + at}}}'])
            writer.write(name, effects)
    writer.close()
    run = finish(directory, streams)
    for at, name in enumerate(streams):
        table = run.outcomes(name)
        assert set(table["stream"].to_pylist()) == {name}
        assert table["seq"].to_pylist() == list(range(10))
        assert run.traces(name).select(["seq", "value"]).to_pylist() == [
            {"seq": 0, "value": at}, {"seq": 5, "value": at}
        ]  # fmt: skip
        assert run.samples(name) == [{"seq": at}, {"seq": 5 + at}]


# --- parts ----------------------------------------------------------------------------------


def growing(path: Path) -> Path:
    """Return a part of three batches, flushed but not closed."""
    directory = RunDirectory(path, "classification")
    writer = directory.parts.writer(3)
    for first in (0, 10, 20):
        writer.write("s-0000", Effects([outcomes(first, 10)]))
        writer.flush()
    return directory.parts.folder / "outcomes-03.arrows"


def test_a_growing_part_can_be_read(tmp_path: Path) -> None:
    assert [len(batch) for batch in read_part(growing(tmp_path))] == [10, 10, 10]


def test_a_torn_part_yields_its_whole_batches(tmp_path: Path) -> None:
    part = growing(tmp_path)
    content, counts = part.read_bytes(), []
    for size in range(0, len(content) + 1, 7):
        part.write_bytes(content[:size])
        batches = list(read_part(part))
        counts.append(len(batches))
        assert [seq for b in batches for seq in b.column("seq").to_pylist()] == list(
            range(10 * len(batches))
        )
    assert counts == sorted(counts)
    assert set(counts) >= {0, 1, 2}


def test_parts_of_an_interrupted_run_are_thrown_away(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "classification")
    writer = directory.parts.writer(0)
    effects = Effects([outcomes(0, 5)], [event("s-0000", 0, 0, 0)], samples=['{"seq":0}'])
    writer.write("s-0000", effects)
    writer.close()
    directory._lock.close()
    run = written(tmp_path, Effects([outcomes(0, 2)]))
    assert len(run.outcomes("s-0000")) == 2
    assert list(run.events()) == run.samples("s-0000") == []


@pytest.mark.parametrize("rows", [0, 4, 6])
def test_an_interrupted_finish_is_done_again(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runlog.ROW_GROUP", 4)
    effects = Effects([outcomes(0, rows)], samples=['{"seq":1}'])
    clean = written(tmp_path / "clean", effects)
    for folder, name in (("outcomes", "parquet"), ("traces", "parquet"), ("samples", "jsonl")):
        left = tmp_path / "again" / folder / f"s-0000.{name}"
        left.parent.mkdir(parents=True)
        left.write_text("what was left behind\n", "utf-8")
    again = written(tmp_path / "again", effects)
    for file in sorted(clean.path.rglob("*")):
        if file.is_file():
            assert (again.path / file.relative_to(clean.path)).read_bytes() == file.read_bytes()
    assert len(list(again.path.rglob("*"))) == len(list(clean.path.rglob("*"))), "nothing is left"


# --- streams without rows -------------------------------------------------------------------


def test_streams_without_any_rows_have_empty_files(tmp_path: Path) -> None:
    run = written(tmp_path, Effects([outcomes(0, 3)]), streams=["s-0000", "s-0001"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl", "outcomes", "run.json", "samples", "summary.json", "traces"
    ]  # fmt: skip
    assert len(run.outcomes("s-0001")) == 0
    assert run.outcomes("s-0001").schema.equals(outcome_schema("classification"))
    for name in ("s-0000", "s-0001"):
        assert len(run.traces(name)) == 0
        assert run.traces(name).schema.equals(TRACES)
        assert run.samples(name) == []
        assert (tmp_path / "samples" / f"{name}.jsonl").read_bytes() == b""
    assert run.summary["streams"]["s-0001"]["error_rate"] is None


# --- extras ---------------------------------------------------------------------------------


def test_traces_have_a_row_for_each_point_and_series(tmp_path: Path) -> None:
    points = [
        TracePoint(100, 5_000_000, {"adwin": math.nan, "error": math.nan}),
        TracePoint(200, 6_000_000, {"adwin": 0.25, "error": 0.5}),
    ]
    table = written(tmp_path, Effects(traces=points[:1]), Effects(traces=points[1:])).traces(
        "s-0000"
    )
    assert table.schema.equals(TRACES)
    assert table["seq"].to_pylist() == [100, 100, 200, 200]
    assert table["event_time"].cast(pa.int64()).to_pylist() == [5_000_000] * 2 + [6_000_000] * 2
    assert table["series"].to_pylist() == ["adwin", "error"] * 2
    assert np.array_equal(
        table["value"].to_numpy(), [math.nan, math.nan, 0.25, 0.5], equal_nan=True
    )
    assert table["value"].null_count == 0, "NaN, as the detector said"


def test_samples_are_lines_of_json(tmp_path: Path) -> None:
    found = {"seq": 3, "feature": None, "records": [{"seq": 3, "features": {"naïve": 0.1}}]}
    run = written(tmp_path, Effects(samples=[json.dumps(found), json.dumps({"seq": 4})]))
    assert run.samples("s-0000") == [found, {"seq": 4}]
    text = (tmp_path / "samples" / "s-0000.jsonl").read_text("utf-8")
    assert [json.loads(line)["seq"] for line in text.splitlines()] == [3, 4]


def test_effects_add_up_in_order() -> None:
    one = Effects(samples=['{"seq":1}'])
    other = Effects([outcomes(0, 1)], [event("s", 0, 0, 0)], [TracePoint(0, 0, {})], ["{}"])
    both = one + other
    assert both.samples == ['{"seq":1}', "{}"]
    assert (len(both.outcomes), len(both.events), len(both.traces)) == (1, 1, 1)
    assert one and both and not Effects()


# --- events, lock, reading ------------------------------------------------------------------


def test_events_are_merged_by_time_stream_seq_and_n(tmp_path: Path) -> None:
    a, b = "s-0000", "s-0001"
    directory = RunDirectory(tmp_path, "classification")
    late, early = directory.parts.writer(1), directory.parts.writer(0)
    late.write(b, Effects(events=[event(b, 1, 0, 0), event(b, 5, 9, 1)]))
    early.write(a, Effects(events=[event(a, 5, 3, 0), event(a, 1, 4, 1), event(a, 1, 4, 2)]))
    early.write(a, Effects(events=[event(a, 5, 10, 3)]))
    late.close()
    early.close()
    found = [(one["stream"], one["n"]) for one in finish(directory, [a, b]).events()]
    assert found == [(a, 1), (a, 2), (b, 0), (a, 0), (a, 3), (b, 1)]


def test_only_one_run_may_write_to_a_directory(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "classification")
    with pytest.raises(EngineError, match="another run is writing"):
        RunDirectory(tmp_path, "classification")
    assert directory.parts.folder.is_dir(), "the first is left alone"
    finish(directory, ["s-0000"])
    assert not (tmp_path / ".state").exists()
    with pytest.raises(EngineError, match="has just finished this"):
        RunDirectory(tmp_path, "classification")
    assert not (tmp_path / ".state").exists()
    (tmp_path / "summary.json").unlink()
    RunDirectory(tmp_path, "classification")


def test_what_a_crash_left_after_the_summary_is_tidied(tmp_path: Path) -> None:
    finish(RunDirectory(tmp_path, "classification"), ["s-0000"])
    (tmp_path / ".state" / "parts").mkdir(parents=True)
    tidy(tmp_path)
    assert not (tmp_path / ".state").exists()
    tidy(tmp_path)


def test_only_a_finished_run_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(ABOUT), "utf-8")
    with pytest.raises(InputError, match="not finished"):
        Run(tmp_path)


def coded(rows: Outcomes, levels: tuple[str, ...]) -> Outcomes:
    codes = np.array([levels.index(value) for value in rows.predictions], dtype=np.intp)
    return replace(rows, coded=Coded(codes, levels))


@pytest.mark.parametrize("missing", [0, 3])
def test_codes_change_nothing_that_is_written(missing: int) -> None:
    plain, schema = outcomes(0, 50), outcome_schema("classification")
    plain.labels[: 4 * missing : 4] = None
    plain.errors[: 4 * missing : 4] = math.nan
    plain.labels[7], plain.errors[7] = "a stranger", 1.0
    for levels in (("a",), ("b", "a"), ("x", "y", "a", "b")):
        found = to_arrow("s", coded(plain, levels), schema)
        found.validate(full=True)
        assert found.equals(to_arrow("s", plain, schema))


def test_codes_are_cut_and_joined_with_their_rows() -> None:
    rows = coded(outcomes(0, 10), ("b", "a"))
    other, none = coded(outcomes(10, 10), ("a",)), outcomes(20, 10)
    whole = join([rows[:3], rows[3:]])
    assert whole.coded is not None and rows.coded is not None
    assert whole.coded.codes.tolist() == rows.coded.codes.tolist() == [1] * 10
    assert join([rows, other]).coded is join([rows, none]).coded is None
