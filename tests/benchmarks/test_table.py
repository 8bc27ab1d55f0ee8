"""Answers that are kept: for models whose rows are the same, and in files that were damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.table import Fit, Recipe, Shelf, answer, build
from benchmarks.tapes import Tape
from engine.batch import plain_batch
from engine.settings import CatBoostModel
from engine.training.store import Store

STANDSTILL = (50, 90)
"""These labels come after all others: in the meantime every model is made of the same rows."""


@pytest.fixture
def recipe() -> Recipe:
    rows = 120
    batch = plain_batch({"x": [float(row % 7) for row in range(rows)]}, ["a", "b", "b"] * 40)
    batch.late_records[slice(*STANDSTILL)] = 45
    tape = Tape.of([batch], block=10, first=30)
    return Recipe(tape, (30,), CatBoostModel(iterations=2, depth=2), seed=1)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(Store(tmp_path / "models"), tmp_path / "answers")


def twins(recipe: Recipe) -> tuple[Fit, Fit]:
    """Return two fits of the same rows, asked for one after the other."""
    by_id: dict[str, Fit] = {}
    for fit in recipe.fits:
        first = by_id.setdefault(recipe.job(fit).identity(), fit)
        if first is not fit:
            return first, fit
    raise AssertionError("no label came, yet the rows differ")


def test_whichever_of_two_models_is_made_first_the_table_is_the_same(
    recipe: Recipe, shelf: Shelf, tmp_path: Path
) -> None:
    early, late = twins(recipe)
    expected = build(recipe, shelf)
    other = Shelf(shelf.store, tmp_path / "other")
    answer(recipe, late, other)
    found = build(recipe, other)
    assert not np.isnan(expected.errors(recipe.fits.index(early))[early.asked + 1])
    assert (found.losses == expected.losses).all()


@pytest.mark.parametrize("damage", ["cut", "bent", "emptied"])
def test_damaged_answers_are_made_anew(recipe: Recipe, shelf: Shelf, damage: str) -> None:
    fit = recipe.fits[0]
    expected = answer(recipe, fit, shelf)
    file = shelf.file(expected.job_id, recipe.tape)
    raw = file.read_bytes()
    file.write_bytes({"cut": raw[:-30], "bent": raw.replace(b"PK", b"KP"), "emptied": b""}[damage])
    found = answer(recipe, fit, shelf)
    assert found.start == expected.start
    assert (found.values == expected.values).all()
    assert shelf.load(expected.job_id, recipe.tape) is not None, "the file is whole again"
