"""River's synthetic streams as sources; the tables here let settings be checked without River."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import chain, count, islice
from typing import Any, Literal

import numpy as np

from engine.batch import Labels, Mark, Schema, Table, Task, encode
from engine.errors import InputError
from engine.seeds import derive
from engine.sources.blocks import BLOCK, POOL_ROWS, Block, made_times
from engine.sources.cells import shorten

Param = Literal["bool", "int", "float", "str", "ints"]
FUNCTION: dict[str, Param] = {"classification_function": "int", "balance_classes": "bool"}
RBF: dict[str, Param] = {
    "seed_model": "int",
    "n_classes": "int",
    "n_features": "int",
    "n_centroids": "int",
}
LED: dict[str, Param] = {"noise_percentage": "float", "irrelevant_features": "bool"}

GENERATORS: dict[str, str] = {
    "agrawal": "Agrawal",
    "anomaly_sine": "AnomalySine",
    "friedman": "Friedman",
    "friedman_drift": "FriedmanDrift",
    "hyperplane": "Hyperplane",
    "led": "LED",
    "led_drift": "LEDDrift",
    "mixed": "Mixed",
    "mv": "Mv",
    "planes_2d": "Planes2D",
    "random_rbf": "RandomRBF",
    "random_rbf_drift": "RandomRBFDrift",
    "random_tree": "RandomTree",
    "sea": "SEA",
    "sine": "Sine",
    "stagger": "STAGGER",
    "waveform": "Waveform",
}
"""Names in scenarios, and River's classes (``Logical`` has three labels: left out; a
``ConceptDriftStream`` is what scripts are for)."""

GENERATOR_TASKS: dict[str, Task] = {
    name: "regression"
    if name in ("friedman", "friedman_drift", "mv", "planes_2d")
    else "classification"
    for name in GENERATORS
}
"""Whether a generator's labels are classes or numbers."""

PARAMS: dict[str, dict[str, Param]] = {
    "agrawal": {**FUNCTION, "perturbation": "float"},
    "anomaly_sine": {
        "n_samples": "int",
        "n_anomalies": "int",
        "contextual": "bool",
        "n_contextual": "int",
        "shift": "int",
        "noise": "float",
        "replace": "bool",
    },
    "friedman": {},
    "friedman_drift": {"drift_type": "str", "position": "ints", "transition_window": "int"},
    "hyperplane": {
        "n_features": "int",
        "n_drift_features": "int",
        "mag_change": "float",
        "noise_percentage": "float",
        "sigma": "float",
    },
    "led": LED,
    "led_drift": {**LED, "n_drift_features": "int"},
    "mixed": FUNCTION,
    "mv": {},
    "planes_2d": {},
    "random_rbf": RBF,
    "random_rbf_drift": {**RBF, "change_speed": "float", "n_drift_centroids": "int"},
    "random_tree": {
        "seed_tree": "int",
        "n_classes": "int",
        "n_num_features": "int",
        "n_cat_features": "int",
        "n_categories_per_feature": "int",
        "max_tree_depth": "int",
        "first_leaf_level": "int",
        "fraction_leaves_per_level": "float",
    },
    "sea": {"variant": "int", "noise": "float"},
    "sine": {**FUNCTION, "has_noise": "bool"},
    "stagger": FUNCTION,
    "waveform": {"has_noise": "bool"},
}
"""Parameters of each generator and their types; the seed of the rows is the scenario's."""

CONCEPT_SEEDS = {
    "random_rbf": "seed_model",
    "random_rbf_drift": "seed_model",
    "random_tree": "seed_tree",
}
"""Generators that have one seed for the concept (a parameter) and another for the rows."""

BOUND_TO_ROWS = ("hyperplane", "led_drift", "random_rbf_drift")
"""Generators whose concept follows from the seed of the rows, or moves from row to row."""

POOL_TRIES = 16 * POOL_ROWS
"""How many records are made to find those of a pool."""
OTHERS = ""
"""Stands for all labels that are not named; none is empty."""

TYPES: dict[Param, tuple[str, tuple[type, ...]]] = {
    "bool": ("true or false", (bool,)),
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
    "ints": ("a list of whole numbers", (list, tuple)),
}


class GeneratorSource:
    """A source whose records one of River's generators makes up.

    Features are named as River does; where River only counts them (``0``) the name is ``x0``.
    Numbers and booleans are numeric, texts categorical; classes are ``"0"``, ``"1"``, ... Starting
    at a late block generates what is before it again and drops it.

    Parameters
    ----------
    name
        A key of `GENERATORS`.
    records
        How many records there are.
    params
        The generator's own parameters, see `PARAMS`.
    seed
        Seed of the rows, and of the concept where that is random and not a parameter.
    start, interval
        Event time of the first record, and the distance of two, in microseconds.

    Raises
    ------
    InputError
        If there is no such generator, or a parameter is unknown or does not fit.

    Examples
    --------
    >>> source = GeneratorSource("sea", records=3, params={"variant": 1}, seed=7)
    >>> source.schema.numeric, next(source.blocks()).labels.tolist()
    (('x0', 'x1', 'x2'), ['0', '0', '0'])
    """

    def __init__(
        self,
        name: str,
        *,
        records: int,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        start: int = 0,
        interval: Fraction = Fraction(1_000_000),
    ) -> None:
        self.name, self.records, self.seed = name, records, seed
        self.start, self.interval = start, interval
        self.params = dict(params or {})
        check(name, self.params)

    @cached_property
    def schema(self) -> Schema:
        """The columns, as the first record shows them."""
        try:
            features, _ = next(self._rows())
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise self._refused(error) from None
        if not features:
            raise self._refused(ValueError("there would be no features"))
        numeric = [column_name(key) for key, value in features.items() if type(value) is not str]
        texts = [column_name(key) for key, value in features.items() if type(value) is str]
        return Schema(tuple(numeric), tuple(texts), GENERATOR_TASKS[self.name])

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self.records

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes, as far as the first block knows; None for regression."""
        if self.schema.task == "regression":
            return None
        highest = max(int(label) for label in next(self.blocks()).labels)
        return tuple(str(number) for number in range(max(2, highest + 1)))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Generator, parameters and seed."""
        return {"generator": self.name, "params": dict(self.params), "seed": self.seed}

    @property
    def oddities(self) -> tuple[Mark, ...]:
        """Nothing: records are made as they should be."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing either."""
        return ()

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on; those before are generated and dropped."""
        schema = self.schema
        rows = islice(self._rows(), start * BLOCK, self.records)
        for first in range(start * BLOCK, self.records, BLOCK):
            taken = list(islice(rows, BLOCK))
            table = to_table(schema, [features for features, _ in taken])
            labels = to_labels([label for _, label in taken], schema.task)
            times = made_times(first, len(taken), self.start, self.interval)
            yield Block(first, times, table, labels)

    def variant(self, changes: Mapping[str, Any]) -> GeneratorSource:
        """Return this generator with other parameters; the same seed, so that rows pair up.

        Parameters
        ----------
        changes
            Parameters by name; ``seed`` (for another random concept, where it depends on that);
            ``name`` for another generator with the same columns, `changes` being all its
            parameters.

        Raises
        ------
        InputError
            If the changes do not fit, or lead to other columns.

        Examples
        --------
        >>> source = GeneratorSource("sea", records=3, seed=7)
        >>> source.variant({"variant": 2}).facts["params"]
        {'variant': 2}
        """
        params = {key: value for key, value in changes.items() if key not in ("name", "seed")}
        name, seed = changes.get("name", self.name), changes.get("seed", self.seed)
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"seed: must be a whole number, 0 or more, not {seed!r}")
        other = GeneratorSource(
            name,
            records=self.records,
            params=params if name != self.name else {**self.params, **params},
            seed=seed,
            start=self.start,
            interval=self.interval,
        )
        if other.schema != self.schema:
            raise InputError(
                f"{name} with {params} has the columns {', '.join(other.schema.features)} "
                f"({other.schema.task}); a drift must keep {', '.join(self.schema.features)} "
                f"({self.schema.task})"
            )
        return other

    def pool(self, named: Sequence[str], others: bool) -> tuple[Table, Labels] | None:
        """Return fresh records of the same concept; none where the concept is bound to its rows.

        At most `POOL_TRIES` are made, so that a rare label has fewer.
        """
        if self.name in BOUND_TO_ROWS:
            return None
        room = dict.fromkeys([*named, OTHERS] if others else named, POOL_ROWS)
        found: list[tuple[Any, str]] = []
        for features, label in islice(self._rows(derive(self.seed, "pool")), POOL_TRIES):
            text = str(int(label))
            kind = text if text in named else OTHERS
            if room.get(kind, 0):
                room[kind] -= 1
                found.append((features, text))
            if not any(room.values()):
                break
        table = to_table(self.schema, [features for features, _ in found])
        return table, np.array([label for _, label in found], dtype=object)

    def _rows(self, seed: int | None = None) -> Iterator[tuple[dict[Any, Any], Any]]:
        """Yield records without end: the source's own, or others of its concept for a seed."""
        if self.name == "anomaly_sine" or seed is not None:
            first = self.seed if seed is None else seed
            seeds = chain([first], (derive(first, "again", n) for n in count()))
            return chain.from_iterable(iter(self._stream(rows)) for rows in seeds)
        return iter(self._stream(self.seed))

    def _stream(self, seed: int) -> Any:
        from river.datasets import synth

        made = dict(self.params)
        if self.name in CONCEPT_SEEDS:
            made.setdefault(CONCEPT_SEEDS[self.name], derive(self.seed, "concept"))
            made["seed_sample"] = seed
        else:
            made["seed"] = seed
        if self.name == "anomaly_sine":
            made.setdefault("n_samples", max(self.records, 4))
            made.setdefault("n_anomalies", made["n_samples"] // 4)
            made.setdefault("n_contextual", made["n_samples"] // 4)
        if self.name == "random_rbf_drift":  # River warns if more are to move than there are
            made.setdefault("n_drift_centroids", min(50, made.get("n_centroids", 50)))
        if "position" in made:
            made["position"] = tuple(made["position"])
        try:
            return getattr(synth, GENERATORS[self.name])(**made)
        except ValueError as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> InputError:
        message = " ".join(str(error).split())
        if not isinstance(error, ValueError):
            message = f"no record can be made ({message})"
        given = shorten(str(self.params))
        return InputError(f"{self.name} does not accept {given}: {message}", key=("params",))


def check(name: str, params: Mapping[str, Any]) -> None:
    """Refuse a generator or parameters that do not exist, without importing River.

    Raises
    ------
    InputError
        With the choices that there are.

    Examples
    --------
    >>> check("sea", {"speed": 1})
    Traceback (most recent call last):
    engine.errors.InputError: sea has no parameter 'speed': it has noise, variant
    """
    if not isinstance(name, str) or name not in GENERATORS:
        near = difflib.get_close_matches(str(name), GENERATORS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ":"
        message = f"there is no generator {name!r}{hint} choose from {', '.join(GENERATORS)}"
        raise InputError(message, key=("name",))
    known = PARAMS[name]
    for key, value in params.items():
        if key not in known:
            choices = f"it has {', '.join(sorted(known))}" if known else "it has none"
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"{name} has no parameter {key!r}: {choices}{hint}", key=("params", key)
            )
        words, types = TYPES[known[key]]
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if fits and known[key] == "ints":
            fits = all(isinstance(one, int) and not isinstance(one, bool) for one in value)
        if not fits:
            message = f"{name}: {key} must be {words}, not {value!r}"
            raise InputError(message, key=("params", key))


def column_name(key: str | int) -> str:
    """Return the name of a feature; River gives some only a number.

    Examples
    --------
    >>> column_name("salary"), column_name(0)
    ('salary', 'x0')
    """
    return key if isinstance(key, str) else f"x{key}"


def to_table(schema: Schema, records: Sequence[Mapping[Any, Any]]) -> Table:
    """Return River's records in columns; all have the same keys in the same order.

    Examples
    --------
    >>> to_table(Schema(("x0",), ("x1",)), [{0: True, 1: "a"}, {0: 2, 1: "b"}]).numbers.tolist()
    [[1.0], [2.0]]
    """
    keys = {column_name(key): key for key in records[0]} if records else {}
    numbers = np.empty((len(records), len(schema.numeric)), order="F")
    for at, name in enumerate(schema.numeric if records else ()):
        key = keys[name]
        numbers[:, at] = [record[key] for record in records]
    codes = np.empty((len(records), len(schema.categorical)), dtype=np.int32, order="F")
    levels: list[tuple[str, ...]] = []
    for at, name in enumerate(schema.categorical):
        codes[:, at], texts = encode([record[keys[name]] for record in records])
        levels.append(texts)
    return Table(schema, numbers, codes, tuple(levels))


def to_labels(labels: Sequence[Any], task: Task) -> Labels:
    """Return River's labels as classes (``"0"``, ``"1"``, ...) or numbers.

    Examples
    --------
    >>> to_labels([True, False], "classification").tolist()
    ['1', '0']
    """
    if task == "regression":
        return np.array(labels, dtype=np.float64)
    texts = np.empty(len(labels), dtype=object)
    texts[:] = [str(int(label)) for label in labels]
    return texts
