from __future__ import annotations

import inspect
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from engine.sources.blocks import BLOCK, POOL_ROWS, Block
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


@pytest.mark.parametrize("name", [n for n, t in GENERATOR_TASKS.items() if t != "regression"])
def test_pools(name: str) -> None:
    source = GeneratorSource(name, records=BLOCK, seed=5)
    block = next(source.blocks())
    label = sorted(set(block.labels))[0]
    pool = source.pool([label], others=True)
    if name in BOUND_TO_ROWS:
        assert pool is None
        return
    assert pool is not None
    table, labels = pool
    assert table.schema == source.schema
    assert len(table) == len(labels)
    assert (labels == label).sum() == POOL_ROWS
    assert 0 < (labels != label).sum() <= POOL_ROWS
    again = source.pool([label], others=True)
    assert again is not None and again[0].numbers.tolist() == table.numbers.tolist()
    if name not in ("led", "stagger"):  # few different records
        own = set(map(tuple, block.table.numbers.tolist()))
        assert not set(map(tuple, table.numbers.tolist())) & own


def test_a_pool_follows_the_concept() -> None:
    source = GeneratorSource("sea", records=BLOCK, seed=5, params={"variant": 3})
    pool = source.pool(["1"], others=True)
    assert pool is not None
    truth = pool[0].number("x0") + pool[0].number("x1") > 9.5
    assert [str(int(label)) for label in truth] == pool[1].tolist()


def test_a_pool_follows_a_random_concept() -> None:
    params = {"n_num_features": 0, "n_cat_features": 3, "max_tree_depth": 2}
    source = GeneratorSource("random_tree", records=BLOCK, seed=8, params=params)
    block = next(source.blocks())
    concept = dict(zip(map(tuple, block.table.numbers.tolist()), block.labels, strict=True))
    pool = source.pool(["0", "1"], others=False)
    assert pool is not None
    assert [concept[tuple(row)] for row in pool[0].numbers.tolist()] == pool[1].tolist()
    assert set(pool[1]) == {"0", "1"}


def test_a_pool_has_none_of_a_label_that_does_not_come_up() -> None:
    pool = GeneratorSource("sea", records=10, seed=5).pool(["7"], others=False)
    assert pool is not None and len(pool[0]) == len(pool[1]) == 0
    pool = GeneratorSource("sea", records=10, seed=5).pool(["7", "1"], others=False)
    assert pool is not None and set(pool[1]) == {"1"}


def test_check_accepts_whole_numbers_for_numbers() -> None:
    check("sea", {"noise": 0, "variant": 2})
