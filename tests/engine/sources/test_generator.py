from __future__ import annotations

import inspect
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from engine.batch import Labels
from engine.errors import EngineError, InputError
from engine.sources.blocks import BLOCK, Block
from engine.sources.generator import (
    BOUND_TO_ROWS,
    CONCEPT_SEEDS,
    GENERATOR_TASKS,
    GENERATORS,
    PARAMS,
    GeneratorSource,
    check,
)

LEFT_OUT = {"ConceptDriftStream", "Logical"}
SEEDS = {"seed", "seed_model", "seed_sample", "seed_tree"}


def test_generators_are_rivers() -> None:
    from river.datasets import synth

    assert set(GENERATORS.values()) == set(synth.__all__) - LEFT_OUT
    assert set(PARAMS) == set(GENERATORS) == set(GENERATOR_TASKS)


@pytest.mark.parametrize("name", GENERATORS)
def test_parameters_are_rivers(name: str) -> None:
    from river.datasets import synth

    signature = inspect.signature(getattr(synth, GENERATORS[name])).parameters
    own = {CONCEPT_SEEDS[name]} if name in CONCEPT_SEEDS else set()
    assert set(PARAMS[name]) == set(signature) - SEEDS | own
    for key in set(PARAMS[name]) - own:
        default = signature[key].default
        expected = "ints" if isinstance(default, tuple) else type(default).__name__
        assert PARAMS[name][key] == expected, key
    seeds = set(signature) & SEEDS
    assert seeds == ({CONCEPT_SEEDS[name], "seed_sample"} if own else {"seed"})


def same(one: Block, other: Block) -> bool:
    return (
        one.row == other.row
        and one.times.tolist() == other.times.tolist()
        and one.table.numbers.tolist() == other.table.numbers.tolist()
        and one.table.codes.tolist() == other.table.codes.tolist()
        and one.table.levels == other.table.levels
        and one.labels.tolist() == other.labels.tolist()
    )


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_is_a_source(name: str) -> None:
    records = 2 * BLOCK + 7
    source, again = (GeneratorSource(name, records=records, seed=5) for _ in range(2))
    blocks = list(source.blocks())
    assert [len(block) for block in blocks] == [BLOCK, BLOCK, 7]
    assert source.rows == records
    assert all(map(same, blocks, again.blocks()))
    assert all(map(same, blocks[1:], source.blocks(1)))
    assert list(source.blocks(3)) == []
    other = next(GeneratorSource(name, records=records, seed=6).blocks())
    assert blocks[0].table.numbers.tolist() != other.table.numbers.tolist()
    assert np.isfinite(blocks[0].table.numbers).all()
    assert source.schema.task == GENERATOR_TASKS[name]
    labels = blocks[0].labels
    if source.schema.task == "regression":
        assert labels.dtype == np.float64
    else:
        assert all(label.isdigit() for label in labels)
        assert len(set(labels)) > 1


def test_texts_are_categorical() -> None:
    source = GeneratorSource("mv", records=50, seed=1)
    assert source.schema.categorical == ("x3", "x7", "x8")
    assert set(next(source.blocks()).table.texts("x7")) == {"yes", "no"}


def test_times_and_facts() -> None:
    source = GeneratorSource(
        "sea", records=2000, seed=3, params={"noise": 0.1}, start=9, interval=Fraction(3, 2)
    )
    (block,) = source.blocks(1)
    assert block.times[:2].tolist() == [9 + 1536, 9 + 1537]
    assert source.facts == {"generator": "sea", "params": {"noise": 0.1}, "seed": 3}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sea", {"variant": 2}),
        ("stagger", {"classification_function": 1}),
        ("agrawal", {"classification_function": 4}),
        ("random_tree", {"seed_tree": 99}),
    ],
)
def test_variant_relabels_the_same_rows(name: str, changes: dict[str, Any]) -> None:
    source = GeneratorSource(name, records=1000, seed=5)
    other = source.variant(changes)
    before, after = next(source.blocks()), next(other.blocks())
    assert before.table.numbers.tolist() == after.table.numbers.tolist()
    assert before.labels.tolist() != after.labels.tolist()
    assert other.facts["seed"] == 5


def test_variant_keeps_what_it_does_not_change() -> None:
    source = GeneratorSource("sea", records=10, seed=5, params={"noise": 0.5})
    assert source.variant({"variant": 1}).facts["params"] == {"noise": 0.5, "variant": 1}
    other = GeneratorSource("hyperplane", records=10, params={"n_features": 3})
    assert other.variant({"seed": 8}).facts == {**other.facts, "seed": 8}
    assert source.variant({"name": "hyperplane", "n_features": 3}).name == "hyperplane"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"varaint": 1}, "no parameter 'varaint': it has noise, variant"),
        ({"name": "agrawal"}, "columns salary.*must keep x0, x1, x2"),
        ({"name": "sae"}, "no generator 'sae'"),
        ({"seed": -1}, "seed"),
        ({"variant": 9}, "does not accept.*possible choices"),
    ],
)
def test_variant_refuses(changes: dict[str, Any], message: str) -> None:
    source = GeneratorSource("sea", records=10, seed=5)
    with pytest.raises(InputError, match=message):
        source.variant(changes)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("nope", {}, "no generator 'nope': choose from agrawal"),
        ("friedman", {"noise": 1.0}, "it has none"),
        ("sea", {"variant": 1.0}, "variant must be a whole number, not 1.0"),
        ("sea", {"variant": True}, "whole number, not True"),
        ("sea", {"noise": False}, "a number, not False"),
        ("sea", {"seed": 3}, "no parameter 'seed'"),
        ("stagger", {"balance_classes": 1}, "true or false"),
        ("friedman_drift", {"position": [1, "2"]}, "list of whole numbers"),
    ],
)
def test_settings_are_checked(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GeneratorSource(name, records=10, params=params)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("agrawal", {"classification_function": 77}),
        ("hyperplane", {"n_features": 1}),
        ("random_rbf", {"n_features": 0}),
        ("random_rbf", {"n_centroids": 0}),
        ("random_tree", {"n_classes": 0}),
        ("random_tree", {"n_num_features": 0, "n_cat_features": 0}),
        ("anomaly_sine", {"n_samples": 4, "n_anomalies": 5}),
        ("friedman_drift", {"position": [1, 2]}),
    ],
)
def test_values_that_river_refuses(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{name} does not accept"):
        _ = GeneratorSource(name, records=10, params=params).schema


def test_checking_needs_no_river() -> None:
    code = (
        "import sys\nfrom engine.sources.generator import GeneratorSource\n"
        "GeneratorSource('sea', records=5)\nassert not any(m.startswith('river') for m in "
        "sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def wanted_labels(source: GeneratorSource, block: Block) -> Labels:
    levels = sorted(set(block.labels))[:2]
    return np.array(levels * 100, dtype=object)


@pytest.mark.parametrize("name", [n for n, t in GENERATOR_TASKS.items() if t != "regression"])
def test_draws(name: str) -> None:
    source = GeneratorSource(name, records=BLOCK, seed=5)
    block = next(source.blocks())
    wanted = wanted_labels(source, block)
    one, same_seed, other = (source.draw(block, wanted, seed) for seed in (1, 1, 2))
    assert len(one) == len(wanted)
    assert one.schema == source.schema
    assert one.numbers.tolist() == same_seed.numbers.tolist()
    if not name.startswith("led"):  # without noise a label has one shape
        assert one.numbers.tolist() != other.numbers.tolist()
    own = set(map(tuple, block.table.numbers.tolist()))
    if name in BOUND_TO_ROWS:
        assert set(map(tuple, one.numbers.tolist())) <= own
    elif name not in ("led", "stagger"):  # few different records
        assert not set(map(tuple, one.numbers.tolist())) & own


def test_draws_follow_the_concept() -> None:
    source = GeneratorSource("sea", records=BLOCK, seed=5, params={"variant": 3})
    wanted = np.array(["1", "0", "1"] * 30, dtype=object)
    table = source.draw(next(source.blocks()), wanted, 7)
    truth = table.number("x0") + table.number("x1") > 9.5
    assert [str(int(label)) for label in truth] == wanted.tolist()


def test_draws_follow_a_random_concept() -> None:
    params = {"n_num_features": 0, "n_cat_features": 3, "max_tree_depth": 2}
    source = GeneratorSource("random_tree", records=BLOCK, seed=8, params=params)
    block = next(source.blocks())
    concept = dict(zip(map(tuple, block.table.numbers.tolist()), block.labels, strict=True))
    assert set(concept.values()) == {"0", "1"}
    wanted = np.array(["1", "0"] * 100, dtype=object)
    drawn = source.draw(block, wanted, 7).numbers.tolist()
    assert [concept[tuple(row)] for row in drawn] == wanted.tolist()


def test_draws_give_up() -> None:
    source = GeneratorSource("sea", records=10, seed=5)
    block = next(source.blocks())
    with pytest.raises(EngineError, match="no record with label '7' came up in 20200 tries"):
        source.draw(block, np.array(["7"], dtype=object), 1)
    friedman = GeneratorSource("friedman", records=10)
    with pytest.raises(EngineError, match="labels are numbers"):
        friedman.draw(next(friedman.blocks()), np.array([1.0]), 1)
    assert len(source.draw(block, np.array([], dtype=object), 1)) == 0


def test_check_accepts_whole_numbers_for_numbers() -> None:
    check("sea", {"noise": 0, "variant": 2})
