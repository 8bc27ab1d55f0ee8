from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.batch import concat_tables
from engine.errors import EngineError, InputError
from engine.sources.blocks import BLOCK, Block
from scenarios import copulas, synthesis
from scenarios.samples import Origin, as_text, changed, replacing, stored
from scenarios.synthesis import CHUNK, SyntheticSource

ROWS = 1200
CHUNK_ROWS = 4 * BLOCK


def table_text(rows: int = ROWS) -> str:
    """Numbers and levels that depend on the label, with a seventh of the numbers missing."""
    chance = np.random.default_rng(1)
    lines = ["amount,whole,colour,blank,one,id,label"]
    for row in range(rows):
        yes = chance.random() < 0.1
        amount = "" if chance.random() < 1 / 7 else f"{chance.normal(5 * yes):.3f}"
        colour = chance.choice(["red", "blue", ""], p=[0.3, 0.5, 0.2])
        whole = chance.integers(20)
        lines.append(f"{amount},{whole},{colour},,only,key-{row},{'yes' if yes else 'no'}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("synthesis")
    (made / "t.csv").write_text(table_text())
    return made


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "CHUNK", CHUNK_ROWS)


@pytest.fixture
def make(folder: Path) -> Callable[..., SyntheticSource]:
    def made(records: int = 6000, seed: int = 3, **origin: Any) -> SyntheticSource:
        settings = {"label": "label", "table": "t.csv", "ignore": ("id",), **origin}
        return SyntheticSource(
            records=records,
            origin=Origin(**settings),
            seed=seed,
            cache_dir=folder / "cache",
            resolve=lambda path: folder / path,
        )

    return made


Make = Callable[..., SyntheticSource]


@pytest.fixture(scope="module")
def saved(folder: Path) -> str:
    """A synthesizer that a user fitted and saved, with SDV alone."""
    import pandas as pd

    copulas.import_sdv()
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    chance = np.random.default_rng(2)
    frame = pd.DataFrame({"n": range(200), "b": [True, False] * 100, "y": [0, 1, 1, 1] * 50})
    frame["x"] = chance.normal(size=200)
    frame["when"] = pd.date_range("2024-01-01", periods=200)
    columns = {
        "n": {"sdtype": "numerical"},
        "b": {"sdtype": "boolean"},
        "y": {"sdtype": "categorical"},
        "x": {"sdtype": "numerical"},
        "when": {"sdtype": "datetime"},
    }
    metadata = Metadata.load_from_dict({"tables": {"mine": {"columns": columns}}})
    with copulas.quiet():
        synthesizer = GaussianCopulaSynthesizer(metadata)
        synthesizer.fit({"mine": frame})
        synthesizer.save(str(folder / "saved.pkl"))
    return "saved.pkl"


def same(one: Block, other: Block) -> bool:
    return (
        one.row == other.row
        and one.times.tolist() == other.times.tolist()
        and np.array_equal(one.table.numbers, other.table.numbers, equal_nan=True)
        and one.table.codes.tolist() == other.table.codes.tolist()
        and one.table.levels == other.table.levels
        and one.labels.tolist() == other.labels.tolist()
    )


def test_chunks_are_whole_blocks() -> None:
    assert CHUNK % BLOCK == 0


def test_samples_look_like_the_table(make: Make) -> None:
    source = make(records=6000)
    blocks = list(source.blocks())
    assert [len(block) for block in blocks] == [*[BLOCK] * 5, 6000 - 5 * BLOCK]
    assert source.schema.numeric == ("amount", "whole", "blank")
    assert source.schema.categorical == ("colour", "one")
    table = concat_tables([block.table for block in blocks])
    labels = np.concatenate([block.labels for block in blocks])
    assert np.mean(labels == "yes") == pytest.approx(0.1, abs=0.03)
    amounts = table.number("amount")
    assert np.mean(np.isnan(amounts)) == pytest.approx(1 / 7, abs=0.03)
    assert np.isnan(table.number("blank")).all()
    whole = table.number("whole")
    assert np.array_equal(whole, np.rint(whole))
    assert whole.min() >= 0 and whole.max() <= 19
    colours = table.texts("colour")
    assert np.mean([colour is None for colour in colours]) == pytest.approx(0.2, abs=0.04)
    assert set(colours) == {"red", "blue", None}
    assert np.nanmean(amounts[labels == "yes"]) > np.nanmean(amounts[labels == "no"]) + 1


def test_chunks_miss_different_values(make: Make) -> None:
    one, other = (block.table.number("amount") for block in list(make().blocks())[:5:4])
    assert not np.array_equal(np.isnan(one), np.isnan(other))


def test_blocks_from_anywhere_are_the_same(make: Make) -> None:
    whole = list(make().blocks())
    for start in (1, 4, 5):
        assert all(map(same, make().blocks(start), whole[start:]))
    assert list(make().blocks(6)) == []
    assert all(map(same, make(records=5000).blocks(), whole[:4]))
    other = next(make(seed=4).blocks())
    assert not np.array_equal(other.table.numbers, whole[0].table.numbers, equal_nan=True)


def test_chunks_do_not_depend_on_those_before(make: Make, tmp_path: Path) -> None:
    whole = list(make().blocks())
    alone = make()
    alone.cache_dir = tmp_path  # fitted and sampled afresh, the second chunk only
    assert all(map(same, alone.blocks(4), whole[4:]))
    assert len(list(tmp_path.glob("samples/*/*"))) == 1
    backwards = make()
    backwards.cache_dir = tmp_path
    assert same(next(backwards.blocks()), whole[0])


def test_warm_cache_neither_fits_nor_samples(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [*make().blocks()]
    drawn, _ = make().pool(["yes", "no"], others=False)
    facts = make().facts

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    for name in ("fitted", "sampled", "load_synthesizer", "quality"):
        monkeypatch.setattr(synthesis, name, never)
    monkeypatch.setitem(sys.modules, "sdv", None)
    assert all(map(same, make().blocks(), before))
    assert make().facts == facts
    again, _ = make().pool(["yes", "no"], others=False)
    assert np.array_equal(again.numbers, drawn.numbers, equal_nan=True)


SCRIPT = """
import hashlib, sys
from pathlib import Path
import numpy as np
from scenarios.samples import Origin
from scenarios.synthesis import SyntheticSource
folder = Path(sys.argv[1])
source = SyntheticSource(
    records=2000, seed=3, cache_dir=Path(sys.argv[2]), resolve=lambda path: folder / path,
    origin=Origin("label", table="t.csv", ignore=("id",)),
)
digest = hashlib.sha256(repr(source.facts).encode())
blocks = list(source.blocks())
for block in blocks:
    digest.update(block.table.numbers.tobytes() + block.table.codes.tobytes())
    digest.update(repr(block.labels.tolist()).encode())
drawn, labels = source.pool(["yes", "no"], others=True)
digest.update(drawn.numbers.tobytes() + repr(labels.tolist()).encode())
home = Path(sys.argv[2]) / "home"
print(digest.hexdigest(), [str(path) for path in home.rglob("*") if "sdv" in path.name.lower()])
"""


def test_another_process_makes_the_same_rows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    home = tmp_path / "other" / "home"
    home.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(home), "PYTHONHASHSEED": "1", "PATH": ""},
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    digest, files = done.stdout.split(maxsplit=1)
    assert files.strip() == "[]", "SDV left files in the user's folder"
    monkeypatch.setattr(synthesis, "CHUNK", CHUNK)
    monkeypatch.setattr(sys, "argv", ["-", str(folder), str(tmp_path / "here")])
    exec(SCRIPT, {})
    assert capsys.readouterr().out.split()[0] == digest


def test_threads_that_sample_at_once_do_not_disturb_one_another(make: Make, tmp_path: Path) -> None:
    alone = [[*make(records=CHUNK, seed=seed).blocks()] for seed in range(4)]
    sources = [make(records=CHUNK, seed=seed) for seed in range(4)]
    for number, source in enumerate(sources):
        assert source.model.synthesizer is not None
        source.cache_dir = tmp_path / str(number)  # sampled afresh
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda source: [*source.blocks()], sources))
    assert all(same(a, b) for one, other in zip(alone, together, strict=True)
               for a, b in zip(one, other, strict=True))  # fmt: skip


def test_global_randomness_is_untouched(make: Make) -> None:
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    next(make(seed=71).blocks())
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


def test_facts(make: Make, folder: Path) -> None:
    import hashlib

    facts = make(rows=(100, 900)).facts
    assert set(facts) == {"distribution", "quality", "fitted_on", "seed", "notes"}
    assert facts["notes"] == ["row 0: column 'blank': no value in 1,024 rows"]
    assert facts["fitted_on"] == {
        "table": "t.csv",
        "rows": 800,
        "sha256": hashlib.sha256((folder / "t.csv").read_bytes()).hexdigest(),
    }
    assert 0.5 < facts["quality"] <= 1
    assert facts["quality"] == round(facts["quality"], 6)
    assert facts["seed"] == 3


def test_regression(make: Make) -> None:
    source = make(records=500, label="amount", task="regression", ignore=("id", "blank"))
    block = next(source.blocks())
    assert block.labels.dtype == np.float64
    assert np.isfinite(block.labels).all()  # rows without a label are not fitted on
    assert source.schema.task == "regression"


@pytest.mark.parametrize("distribution", ["beta", "truncnorm", "uniform", "gamma"])
def test_distributions(make: Make, distribution: str) -> None:
    source = make(records=500, distribution=distribution, rows=(0, 400))
    assert len(next(source.blocks())) == 500
    assert source.facts["distribution"] == distribution


def test_kernel_density_is_fitted_on_few_rows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "KDE_ROWS_MAX", 20)
    monkeypatch.setattr(copulas, "QUALITY_ROWS", 20)
    source = make(records=10, distribution="gaussian_kde", ignore=("id", "blank"))
    assert source.facts["fitted_on"]["rows"] == 20


# --- variants and draws -----------------------------------------------------------------------


def test_variant_is_fitted_on_other_rows(make: Make, folder: Path) -> None:
    source = make()
    rows = source.variant({"rows": [600, 1200]})
    assert rows.facts["fitted_on"]["rows"] == 600
    assert rows.schema == source.schema
    assert rows.facts["seed"] == source.facts["seed"]
    (folder / "other.csv").write_text(table_text(300).replace("red", "green"))
    other = source.variant({"table": "other.csv"})
    assert other.facts["fitted_on"]["table"] == "other.csv"
    assert "green" in next(other.blocks()).table.texts("colour")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "cannot change {}: give rows"),
        ({"seed": 3}, "cannot change"),
        ({"rows": [5]}, "no slice"),
        ({"rows": [5, 5]}, "no slice"),
        ({"rows": [0, 1.5]}, "no slice"),
        ({"rows": [0, 5000]}, "reaches beyond the table's 1200 rows"),
        ({"rows": [0, 1]}, "too few to fit on"),
        ({"table": 3}, "not a path"),
        ({"table": "none.csv"}, "no such file"),
        ({"table": "narrow.csv"}, "no column 'id'"),
        ({"table": "wide.csv"}, "same columns as t.csv"),
        ({"synthesizer": "none.pkl"}, "no such file"),
        ({"synthesizer": "a", "table": "b"}, "cannot change"),
        ({"synthesizer": "a", "rows": [1, 2]}, "rows are of a table"),
    ],
)
def test_variant_refuses(make: Make, folder: Path, changes: dict[str, Any], message: str) -> None:
    (folder / "narrow.csv").write_text("amount,label\n1,yes\n2,no\n")
    (folder / "wide.csv").write_text("more," + table_text(20).replace("\n", "\n1,").rstrip("1,"))
    with pytest.raises(InputError, match=message):
        _ = make().variant(changes).facts


def test_rows_need_a_table() -> None:
    with pytest.raises(InputError, match="no table"):
        changed(Origin("y", synthesizer="s.pkl"), {"rows": [1, 2]})
    assert changed(Origin("y", synthesizer="s.pkl"), {"table": "t.csv"}).synthesizer is None


def test_a_pool_follows_the_label(make: Make) -> None:
    source = make()
    blocks = list(source.blocks())
    table, labels = source.pool(["yes"], others=True)
    assert table.schema == source.schema
    assert set(labels) == {"yes", "no"}
    assert (labels == "yes").sum() > 1000 and (labels == "no").sum() > 1000
    everything = concat_tables([block.table for block in blocks]).number("amount")
    own = np.concatenate([block.labels for block in blocks])
    for label in ("yes", "no"):
        drawn = np.nanmean(table.number("amount")[labels == label])
        assert drawn == pytest.approx(np.nanmean(everything[own == label]), abs=0.3)


def test_a_pool_of_labels_that_do_not_come_up(make: Make, saved: str) -> None:
    for others in (False, True):
        table, labels = make().pool(["perhaps", "yes", "no"], others)
        assert set(labels) == {"yes", "no"} and len(table) == len(labels)
    table, labels = make().pool(["perhaps"], others=False)
    assert len(table) == len(labels) == 0
    loaded = make(label="y", table=None, synthesizer=saved, ignore=("when",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "POOL_CHUNKS_MAX", 2)
        assert len(loaded.pool(["7"], others=False)[1]) == 0


# --- saved synthesizers -----------------------------------------------------------------------


def test_saved_synthesizer(make: Make, saved: str) -> None:
    source = make(records=2000, label="y", table=None, synthesizer=saved, ignore=("when",))
    assert source.schema.numeric == ("n", "x")
    assert source.schema.categorical == ("b",)
    block = next(source.blocks())
    assert set(block.table.texts("b")) == {"true", "false"}
    assert set(block.labels) == {"0", "1"}
    assert source.facts["quality"] is None
    assert source.facts["fitted_on"]["synthesizer"] == saved
    assert source.facts["fitted_on"]["rows"] is None
    assert set(source.pool(["0"], others=True)[1]) == {"0", "1"}
    texts = make(
        label="y", table=None, synthesizer=saved, ignore=("when",), columns={"n": "categorical"}
    )
    assert next(texts.blocks()).table.texts("n")[0].isdigit()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "z"}, "no column 'z', only n, b, y"),
        ({"ignore": ("zz",)}, "no column 'zz'"),
        ({}, "'when' is of type datetime.*ignore it"),
        ({"ignore": ("when",), "columns": {"b": "numeric"}}, "'b' holds categories"),
        ({"ignore": ("when",), "task": "regression"}, "label 'y' is no number"),
        ({"ignore": ("when", "n", "b", "x")}, "no feature columns are left"),
    ],
)
def test_saved_synthesizer_must_fit(
    make: Make, saved: str, settings: dict[str, Any], message: str
) -> None:
    origin = {"label": "y", "table": None, "synthesizer": saved, "ignore": (), **settings}
    with pytest.raises(InputError, match=message):
        _ = make(**origin).schema


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"a": 1}), table_text(3).encode()])
def test_files_that_are_no_synthesizer(make: Make, folder: Path, content: bytes) -> None:
    (folder / "bad.pkl").write_bytes(content)
    with pytest.raises(InputError, match="is not a single-table synthesizer") as caught:
        _ = make(label="y", table=None, synthesizer="bad.pkl").schema
    assert caught.value.place == "bad.pkl"
    assert "\n" not in str(caught.value)


# --- failures and the cache -------------------------------------------------------------------


def test_one_origin() -> None:
    for origin in (Origin("y"), Origin("y", table="a", synthesizer="b")):
        with pytest.raises(InputError, match="give either table"):
            SyntheticSource(records=1, origin=origin, cache_dir=Path())


def test_failures_of_sdv_are_one_sentence(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    next(make().blocks())
    from sdv.single_table import GaussianCopulaSynthesizer

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("first\nsecond")

    monkeypatch.setattr(GaussianCopulaSynthesizer, "fit", broken)
    with pytest.raises(EngineError, match=r"SDV cannot fit t\.csv: first second"):
        next(make(rows=(3, 77)).blocks())
    monkeypatch.setattr(GaussianCopulaSynthesizer, "sample", broken)
    with pytest.raises(EngineError, match="SDV cannot sample: first second"):
        next(make(seed=1234).blocks())


def test_sdv_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with copulas.quiet():
            warnings.warn("noise", UserWarning, stacklevel=1)
            logging.getLogger("sdv.single_table").error("noise")
            logging.getLogger("rdt").warning("noise")
        with pytest.raises(UserWarning):
            warnings.warn("ours", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
    assert logging.getLogger("sdv").level != logging.CRITICAL


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "a" / "x") as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []
    with replacing(tmp_path / "x") as unfinished:
        unfinished.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole"


def test_stored_is_made_once(tmp_path: Path) -> None:
    import pyarrow as pa

    calls = []

    def made() -> Any:
        calls.append(1)
        return pa.table({"x": [1.5, None]})

    for _ in range(2):
        assert stored(tmp_path / "s" / "0.parquet", made).column("x").to_pylist() == [1.5, None]
    assert len(calls) == 1


def test_texts_of_categories() -> None:
    import pandas as pd

    assert [as_text(value) for value in (np.int64(3), 2.0, True, np.nan, None, pd.NA)] == [
        *("3", "2", "true", None, None, None)
    ]
