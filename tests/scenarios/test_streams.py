from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Batch, Mark, concat
from engine.errors import EngineError
from engine.seeds import derive
from engine.settings import Labels
from engine.sources.blocks import BLOCK, Block
from scenarios import spec
from scenarios.streams import Position, Stream, open_streams, ordered, scripted, stream_seed
from scenarios.synthesis import SyntheticSource
from tests.scenarios import MemorySource, fingerprint, item_of

ROWS = 4500  # four whole blocks and a part
RECURRING = {"shape": "recurring", "period": 700, "over": 200}
EVERYTHING: list[dict[str, Any]] = [
    {"kind": "concept", "at": 900, **RECURRING, "to": {"offset": 9.0}},
    {"kind": "covariate", "at": 1000, "over": 2500, "columns": {"d": {"mix": {"new": 0.3}}}},
    {
        "kind": "covariate",
        "at": 1500,
        "over": 2000,
        "shape": "incremental",
        "columns": {"x": {"scale": 3.0}},
        "correlation": {"columns": ["x", "y"], "to": 0.8},
    },
    {"kind": "prior", "at": 1024, "until": 3000, "mix": {"yes": 0.9}},
    {"kind": "concept", "at": 800, "until": 4000, "relabel": {"no": "maybe"}},
    {"kind": "stuck", "at": 1100, "until": 4400, "columns": ["y", "c"]},
    {"kind": "missing", "at": 500, "until": 4000, "columns": ["x"], "share": 0.2},
    {"kind": "swapped", "at": 2000, "until": 3100, "columns": ["c", "d"]},
    {"kind": "late_labels", "at": 700, "until": 3500, "delay": "3h", "share": 0.4},
    {"kind": "missing_labels", "at": 700, "until": 3500, "share": 0.4},
    {"kind": "outage", "at": 2000, "until": 3600},
    {"kind": "duplicates", "at": 0, "until": 4500, "share": 0.2},
    {"kind": "out_of_order", "at": 100, "until": 4500, "share": 0.2, "by": 1000},
    {"kind": "out_of_order", "at": 900, "until": 1100, "share": 0.9, "by": 3},
]


def stream_of(*items: dict[str, Any], rows: int = ROWS, **fields: Any) -> Stream:
    script = tuple(item_of(**item) for item in items)
    whole: dict[str, Any] = {"name": "t", "index": 0, "seed": 3, "delay": 5, **fields}
    return Stream(source=MemorySource(rows), script=script, **whole)


EVERY = stream_of(*EVERYTHING)
WHOLE = concat(list(EVERY.batches(ROWS * 2)))
PRINT = fingerprint(WHOLE)
STEPS = list(EVERY.walk(97))


def rows_of(batch: Batch) -> list[int]:
    rows: list[int] = (batch.times // 1_000_000).tolist()
    return rows


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6000))
def test_batches_of_any_size_are_the_same_records_and_marks(size: int) -> None:
    batches = list(EVERY.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert [batch.first for batch in batches] == [size * n for n in range(len(batches))]
    assert fingerprint(concat(batches)) == PRINT


def test_batches_of_one() -> None:
    assert fingerprint(concat(list(EVERY.batches(1)))) == PRINT


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(STEPS) - 1), st.integers(1, 3000))
def test_a_restart_anywhere_gives_the_same_remainder(step: int, size: int) -> None:
    batch, position = STEPS[step]
    again = Position(**json.loads(json.dumps(asdict(position))))
    assert again.next_seq == batch.end
    rest = list(EVERY.batches(size, again))
    remainder = WHOLE[batch.end :]
    if len(remainder):
        assert fingerprint(concat(rest)) == fingerprint(remainder)
    else:
        assert rest == []


@pytest.mark.parametrize("number", range(len(EVERYTHING)))
def test_a_restart_within_each_item_alone(number: int) -> None:
    stream = stream_of(EVERYTHING[number])
    steps = list(stream.walk(512))
    whole = concat([batch for batch, _ in steps])
    for batch, position in steps[:-1]:
        rest = concat(list(stream.batches(1500, position)))
        assert fingerprint(rest) == fingerprint(whole[batch.end :])


def test_a_value_stuck_before_a_swap_is_the_same_after_a_restart() -> None:
    stuck = {"kind": "stuck", "at": 1100, "until": 4400, "columns": ["x"]}
    stream = stream_of(stuck, {"kind": "swapped", "at": 1000, "until": 2000, "columns": ["x", "y"]})
    whole = concat(list(stream.batches(ROWS)))
    rest = concat(list(stream.batches(ROWS, Position(block=3, seq=3 * BLOCK, marks=3))))
    assert fingerprint(rest) == fingerprint(whole[3 * BLOCK :])


def test_a_restart_reads_no_more_than_it_needs() -> None:
    read: list[int] = []

    @dataclass(frozen=True)
    class Counted(MemorySource):
        seen: list[int] = field(default_factory=lambda: read)

        def blocks(self, start: int = 0) -> Iterator[Block]:
            for block in super().blocks(start):
                self.seen.append(block.row // BLOCK)
                yield block

    def reads(*items: dict[str, Any]) -> list[int]:
        read.clear()
        script = tuple(item_of(**item) for item in items)
        stream = Stream("t", 0, 3, Counted(ROWS), script)
        list(stream.batches(100, Position(block=3, seq=3 * BLOCK)))
        return list(read)

    stuck = {"kind": "stuck", "at": 1100, "until": 4400, "columns": ["y"]}
    late = {"kind": "out_of_order", "at": 0, "until": 4400, "share": 0.1, "by": 9}
    assert reads() == [3, 4]
    assert reads(stuck) == [3, 1, 4]
    assert reads(late) == [2, 3, 4]
    assert reads({**late, "until": 2048}) == [3, 4]


def test_what_a_row_becomes_does_not_depend_on_how_many_follow() -> None:
    items = [item for item in EVERYTHING if item["kind"] in ("covariate", "missing", "duplicates")]
    items[0] = {key: value for key, value in items[0].items() if key != "over"} | {"at": 3000}
    drift, *faults = (item for item in items if "correlation" not in item)
    outage = {"kind": "outage", "at": 4100, "until": 4150}
    long, short = (
        concat(list(stream_of(drift, *faults, outage, rows=rows).batches(999)))
        for rows in (ROWS, 4300)
    )
    assert fingerprint(long[: len(short)]) == fingerprint(short)


def test_without_a_script_the_source_arrives_as_it_is() -> None:
    stream = stream_of(delay="1h")
    whole = concat(list(stream.batches(1000)))
    assert rows_of(whole) == list(range(ROWS))
    assert set(whole.late_micros) == {3_600_000_000} and set(whole.late_records) == {0}
    assert whole.marks == ()
    assert (stream.rows, stream.schema) == (ROWS, MemorySource().schema)
    assert stream.facts == {"rows": ROWS}


def test_delay_in_records_is_each_labels() -> None:
    whole = concat(list(stream_of(delay=48).batches(1000)))
    assert set(whole.late_records) == {48} and set(whole.late_micros) == {0}


def test_streams_of_other_seeds_differ_and_items_touch_only_theirs() -> None:
    lost = {"kind": "missing", "at": 0, "until": 4500, "columns": ["x"], "share": 0.5}
    prints = {fingerprint(concat(list(stream_of(lost, seed=seed).batches(999)))) for seed in (1, 2)}
    assert len(prints) == 2
    plain = fingerprint(concat(list(stream_of().batches(999))))
    elsewhere = {**lost, "streams": [1]}
    assert fingerprint(concat(list(stream_of(elsewhere).batches(999)))) == plain
    assert fingerprint(concat(list(stream_of(elsewhere, index=1).batches(999)))) != plain


def test_an_empty_source_and_a_total_outage_give_nothing() -> None:
    assert list(stream_of(rows=0).batches(10)) == []
    assert list(stream_of({"kind": "outage", "at": 0, "until": ROWS}).batches(10)) == []


# --- marks ----------------------------------------------------------------------------------


def marks_of(*items: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(m.seq, dict(m.details)) for b in stream_of(*items).batches(64) for m in b.marks]


def test_a_drifts_marks_tell_what_changes() -> None:
    drift = {"kind": "covariate", "at": 10, "over": 5, "until": 2000}
    pair = {"columns": ["x", "y"], "to": 0.5}
    found = marks_of({**drift, "columns": {"x": {"scale": 2.0}}, "correlation": pair})
    whole = {"script": 0, "drift": "covariate", "shape": "gradual"}
    assert found == [
        (10, {**whole, "phase": "start", "row": 10, "over": 5, "columns": ["x", "y"]}),
        (2000, {**whole, "phase": "return", "row": 2000, "over": 5, "columns": ["x", "y"]}),
    ]
    assert list(found[0][1]) == ["script", "drift", "shape", "phase", "row", "over", "columns"]


@pytest.mark.parametrize(
    ("drift", "change"),
    [
        ({"kind": "prior", "mix": {"yes": 0.5}}, {"mix": {"yes": 0.5}}),
        ({"kind": "concept", "relabel": {"yes": "no"}}, {"relabel": {"yes": "no"}}),
        ({"kind": "concept", "to": {"offset": 1.0}}, {"to": {"offset": 1.0}}),
    ],
)
def test_marks_carry_the_change(drift: dict[str, Any], change: dict[str, Any]) -> None:
    ((seq, details),) = marks_of({**drift, "at": 7})
    assert seq == 7
    assert {key: details[key] for key in list(details)[6:]} == change
    json.dumps(details)


def test_a_faults_marks_are_its_start_and_end() -> None:
    fault = {"kind": "missing", "at": 10, "until": 20, "columns": ["x", "c"], "share": 0.25}
    about = {"columns": ["x", "c"], "share": 0.25}
    assert marks_of(fault) == [
        (10, {"script": 0, "fault": "missing", "phase": "start", "row": 10, **about}),
        (20, {"script": 0, "fault": "missing", "phase": "end", "row": 20, **about}),
    ]
    assert {mark.kind for mark in stream_scripted(fault)} == {"fault"}
    assert [mark.seq for mark in stream_scripted({**fault, "until": ROWS})] == [10]


def stream_scripted(*items: dict[str, Any]) -> tuple[Mark, ...]:
    return scripted([item_of(**item) for item in items], index=0, rows=ROWS)


def test_marks_wait_for_a_record_and_are_dropped_if_none_comes() -> None:
    outage = {"kind": "outage", "at": 1000, "until": 3000}
    drift = {"kind": "prior", "at": 1500, "mix": {"yes": 0.5}}
    found = marks_of(drift, outage)
    assert [(seq, d["row"], d["script"]) for seq, d in found] == [
        (1000, 1000, 1),
        (1000, 1500, 0),
        (1000, 3000, 1),
    ]
    assert marks_of(drift, {**outage, "until": ROWS}) == []


def test_a_restart_in_an_outage_gives_the_waiting_marks_once() -> None:
    stream = stream_of({"kind": "outage", "at": 1000, "until": 3000})
    (first, position), *_ = stream.walk(1000)
    assert first.marks == ()
    rest = [mark for batch in stream.batches(100, position) for mark in batch.marks]
    assert [(mark.seq, mark.details["phase"]) for mark in rest] == [(1000, "start"), (1000, "end")]


def test_seqs_of_marks_count_emitted_records() -> None:
    twice = {"kind": "duplicates", "at": 0, "until": 100, "share": 1.0}
    drift = {"kind": "prior", "at": 50, "mix": {"yes": 0.5}}
    assert [seq for seq, _ in marks_of(drift, twice)] == [0, 100, 200]


def test_a_mark_goes_to_the_first_arrival_at_or_after_its_row() -> None:
    late = {"kind": "out_of_order", "at": 50, "until": 51, "share": 1.0, "by": 1}
    drift = {"kind": "prior", "at": 50, "mix": {"yes": 0.0}}
    stream = stream_of(drift, late)
    batch = next(stream.batches(100))
    assert rows_of(batch)[49:53] == [49, 51, 50, 52]
    assert [(m.seq, m.details["row"]) for m in batch.marks] == [(50, 50), (50, 50), (50, 51)]


def test_a_recurring_drift_marks_every_switch() -> None:
    found = marks_of({"kind": "prior", "at": 900, **RECURRING, "mix": {"yes": 0.5}})
    assert [(d["row"], d["phase"]) for _, d in found] == [
        (row, ("start", "return")[n % 2]) for n, row in enumerate(range(900, ROWS, 700))
    ]


def test_order_of_application() -> None:
    script = [item_of(**item) for item in reversed(EVERYTHING)]
    kinds = [item.kind for _, item in ordered(script, 0)]
    assert kinds == [
        *("prior", "concept", "covariate", "covariate", "concept"),
        *("swapped", "missing", "stuck", "missing_labels", "late_labels"),
        *("out_of_order", "out_of_order", "duplicates", "outage"),
    ]


ODD = tuple(
    Mark(row, "anomaly", {"what": "odd", "column": "x", "row": row})
    for row in (0, 150, 900, 1024, 2500, 3599, 3600, 4499)
)


@pytest.mark.parametrize("size", [1, 700, ROWS])
def test_oddities_arrive_with_their_rows_once_wherever_one_starts(size: int) -> None:
    script = tuple(item_of(**item) for item in EVERYTHING)
    stream = Stream("t", 0, 3, MemorySource(ROWS, odd=ODD), script, 5)
    whole = concat(list(stream.batches(ROWS * 2)))
    assert fingerprint(concat(list(stream.batches(size)))) == fingerprint(whole)
    found = [mark for mark in whole.marks if mark.kind == "anomaly"]
    assert [mark.details["row"] for mark in found] == [mark.seq for mark in ODD]
    assert found[4].seq == found[6].seq, "an outage lets them wait for the next record"
    for batch, position in list(stream.walk(613))[:-1]:
        rest = concat(list(stream.batches(size, position)))
        assert rest.marks == whole[batch.end :].marks


# --- opening --------------------------------------------------------------------------------

SEA = spec.GeneratorSource(kind="generator", name="sea", records=1500)


def test_seeds_are_given_or_derived() -> None:
    given_ = spec.Scenario(name="s", source=SEA, streams=spec.Streams(count=2, seeds=(5, 6)))
    assert [stream_seed(given_, index) for index in (0, 1)] == [5, 6]
    derived = spec.Scenario(name="s", source=SEA, seed=9, streams=2)
    assert [stream_seed(derived, index) for index in (0, 1)] == [
        derive(9, "stream", 0),
        derive(9, "stream", 1),
    ]


def test_marks_are_in_numpy_free_json() -> None:
    for batch in EVERY.batches(500):
        for mark in batch.marks:
            assert type(mark.seq) is int
            json.dumps(dict(mark.details))
    assert WHOLE.times.dtype == WHOLE.late_records.dtype == np.int64


def test_open_streams_from_a_generator() -> None:
    script = (item_of(kind="concept", at=1030, to={"variant": 2}),)
    scenario = spec.Scenario(name="s", source=SEA, streams=2, script=script)
    streams = open_streams(scenario, Path(), Path())
    assert [(s.name, s.index) for s in streams] == [("s-0000", 0), ("s-0001", 1)]
    first, second = (concat(list(s.batches(999))) for s in streams)
    assert fingerprint(first) != fingerprint(second)
    again = open_streams(scenario, Path(), Path())[1]
    assert fingerprint(concat(list(again.batches(77)))) == fingerprint(second)


def test_open_streams_from_a_file_beside_the_scenario(tmp_path: Path) -> None:
    for name, label in (("a.csv", "old"), ("b.csv", "new")):
        rows = "".join(f"{n},{label}\n" for n in range(50))
        (tmp_path / name).write_text("x,y\n" + rows)
    source = spec.FileSource(kind="file", path="a.csv", label="y", rate="1/m", start="1970-01-02")
    script = (item_of(kind="concept", at=20, until=30, to={"path": "b.csv"}),)
    scenario = spec.Scenario(name="s", source=source, streams=2, script=script)
    first, second = open_streams(scenario, tmp_path, tmp_path)
    assert first.source is second.source
    whole = concat(list(pickle.loads(pickle.dumps(first)).batches(7)))
    assert whole.labels.tolist() == ["old"] * 20 + ["new"] * 10 + ["old"] * 20
    assert whole.times[:2].tolist() == [86_400_000_000, 86_460_000_000]


def test_open_streams_takes_the_settings_of_a_synthesizer(tmp_path: Path) -> None:
    source = spec.SyntheticSource(
        kind="synthetic", records=50, label="y", table="a.csv", rows=(5, 25), ignore=("z",)
    )
    labels = Labels(task="regression", delay=3)
    scenario = spec.Scenario(name="s", source=source, labels=labels)
    (stream,) = open_streams(scenario, tmp_path, tmp_path / "cache")
    made = stream.source
    assert isinstance(made, SyntheticSource)
    assert (made.origin.table, made.origin.rows, made.origin.ignore) == ("a.csv", (5, 25), ("z",))
    assert (made.origin.task, made.seed, made.rows) == ("regression", stream.seed, 50)
    assert made.resolve("a.csv") == tmp_path / "a.csv"
    assert stream.delay == 3


class Failing(MemorySource):
    """A source whose third block cannot be read."""

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for block in super().blocks(start):
            if block.row >= 2 * BLOCK:
                raise EngineError("the file has vanished")
            yield block


@pytest.mark.parametrize("size", [1, 700, 5000])
def test_what_came_before_a_failure_arrives_for_any_batch_size(size: int) -> None:
    stream = Stream("s-0000", 0, 1, Failing(3 * BLOCK))
    records = 0
    with pytest.raises(EngineError, match="vanished"):
        for batch in stream.batches(size):
            records += len(batch)
    assert records == 2 * BLOCK
