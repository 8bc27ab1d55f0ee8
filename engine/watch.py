"""Who feeds the detectors: `ErrorWatch` with the champion's errors, `FeatureWatch` with features.

Features reach their detectors standardised against the champion's training window, so that one
setting suits columns of any unit: a change of one means one standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine import settings as s
from engine.batch import MISSING, Bools, Codes, Floats, Ints, Schema, Table
from engine.compiled import NOWHERE, PageHinkleyPack
from engine.detectors import Detector, PageHinkleyDetector, build, name_of, trace_many
from engine.errors import InputError
from engine.events import Alarm
from engine.seeds import derive
from engine.switch import SWITCH

Aspect = Literal["value", "frequency", "missing"]
CLIP = 5.0
"""Standardised inputs are cut off here, so that no single record can raise an alarm."""
TINY = 1e-12
"""A standard deviation up to this share of the mean is rounding, not spread."""
NAP_MAX = 65_536
"""How many postponed zeros a detector is given at a time."""


class ErrorWatch:
    """Feeds the champion's errors, in the order they become known, to the error detectors.

    Parameters
    ----------
    settings
        Detector settings; those that are not on the error are ignored.
    seed
        Where detectors that draw samples get their seed from.

    Examples
    --------
    >>> watch = ErrorWatch([s.Adwin(kind="adwin")], seed=7)
    >>> seqs = np.arange(1000)
    >>> alarms = watch.update(seqs + 48, seqs, np.repeat([0.0, 1.0], 500))
    >>> [(alarm.seq, alarm.of_seq, alarm.detector) for alarm in alarms]
    [(559, 511, 'adwin')]
    >>> nothing = np.array([], dtype=int)
    >>> watch.trace(nothing, nothing, np.array([]), stops=np.array([0]))
    ([], [{'adwin': 1.0}])
    """

    def __init__(self, settings: Sequence[s.AnyDetector], seed: int) -> None:
        self._settings = tuple(one for one in settings if one.on == "error")
        self._seed = seed
        self._detectors: list[Detector] = []
        self.reset()

    def reset(self) -> None:
        """Make all detectors fresh, as at the promotion of a new champion."""
        self._detectors = [build(one, derive(self._seed, "error")) for one in self._settings]

    def update(self, arrivals: Ints, seqs: Ints, errors: Floats) -> list[Alarm]:
        """Feed errors and return the alarms, ordered by arrival, record and detector.

        Parameters
        ----------
        arrivals
            Sequence numbers of the arrivals at which the labels became known, ascending.
        seqs
            Sequence numbers of the records that the labels belong to.
        errors
            The champion's errors on them: 0 and 1, or not negative for regression; never NaN.
        """
        return self.trace(arrivals, seqs, errors, NOWHERE)[0]

    def trace(
        self, arrivals: Ints, seqs: Ints, errors: Floats, stops: Ints
    ) -> tuple[list[Alarm], list[dict[str, float]]]:
        """Return what `update` does, and the statistics before each of the positions `stops`.

        These are, by name, the figure that each detector judges by (of two of one name, the
        second's). Positions ascend, and may be as large as the number of errors.
        """
        found = []
        statistics: list[dict[str, float]] = [{} for _ in stops]
        for order, (one, detector) in enumerate(zip(self._settings, self._detectors, strict=True)):
            name = name_of(one)
            alarms, figures = trace_many(detector, errors, stops)
            for at in alarms:
                alarm = Alarm(int(arrivals[at]), int(seqs[at]), name, "error")
                found.append((alarm.seq, alarm.of_seq, order, alarm))
            for values, figure in zip(statistics, figures, strict=True):
                values[name] = figure
        found.sort(key=lambda entry: entry[:3])
        return [alarm for *_, alarm in found], statistics


# --- what features are held against ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """What one feature looked like over a training window.

    Parameters
    ----------
    mean, std
        Mean and standard deviation of the values that are there, or of the frequencies of the
        levels that are there; NaN if none is.
    missing
        Share of missing values.
    frequencies
        For a categorical feature each level and its share of the values that are there, by name.
    """

    mean: float
    std: float
    missing: float
    frequencies: tuple[tuple[str, float], ...] = ()

    @property
    def scale(self) -> float:
        """What one standard deviation is worth: `std`, or 1 where there is no spread."""
        return self.std if TINY * abs(self.mean) < self.std < np.inf else 1.0

    @property
    def missing_scale(self) -> float:
        """What one standard deviation of the missing indicator is worth, or 1 without any."""
        return float(np.sqrt(self.missing * (1 - self.missing))) or 1.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Summary of a training window, small enough for a snapshot.

    Parameters
    ----------
    numeric, categorical
        A `Column` for each feature, in schema order.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> table = table_of({"x": [1.0, 3.0, np.nan, np.nan], "c": ["a", "a", "b", None]}, ["c"])
    >>> reference = Reference.of(table)
    >>> reference.numeric
    (Column(mean=2.0, std=1.0, missing=0.5, frequencies=()),)
    >>> [(level, round(share, 2)) for level, share in reference.categorical[0].frequencies]
    [('a', 0.67), ('b', 0.33)]
    """

    numeric: tuple[Column, ...]
    categorical: tuple[Column, ...]

    @classmethod
    def of(cls, table: Table) -> Reference:
        """Return the summary of a training window."""
        numeric = tuple(
            _summary(np.ascontiguousarray(table.number(name)), np.isnan(table.number(name)))
            for name in table.schema.numeric
        )
        categorical = tuple(
            _category(table.codes[:, at], levels) for at, levels in enumerate(table.levels)
        )
        return cls(numeric, categorical)


def _summary(
    values: Floats, gone: Bools, frequencies: tuple[tuple[str, float], ...] = ()
) -> Column:
    """Return the summary of a column whose values are missing where `gone`."""
    there = values[np.isfinite(values)]
    share = float(np.count_nonzero(gone)) / max(len(values), 1)
    if not len(there):
        return Column(np.nan, np.nan, share, frequencies)
    if (there == there[0]).all():  # the mean of equal values is rounded
        return Column(float(there[0]), 0.0, share, frequencies)
    with np.errstate(over="ignore", invalid="ignore"):
        return Column(float(there.mean()), float(there.std()), share, frequencies)


def _category(codes: Codes, levels: tuple[str, ...]) -> Column:
    """Return the summary of a categorical column."""
    there = codes[codes != MISSING]
    counts = np.bincount(there, minlength=len(levels))
    shares = np.append(counts / max(len(there), 1), np.nan)
    frequencies = sorted(
        (level, float(share)) for level, share in zip(levels, shares[:-1], strict=True) if share
    )
    return _summary(shares[codes], codes == MISSING, tuple(frequencies))


def standardise(values: Floats, mean: float, scale: float) -> Floats:
    """Return how many `scale`s above `mean` values lie, cut off at ±5; NaN stays NaN.

    Examples
    --------
    >>> standardise(np.array([3.0, 1.0, np.nan, 99.0]), mean=1.0, scale=2.0).tolist()
    [1.0, 0.0, nan, 5.0]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: Floats = np.clip((values - mean) / scale, -CLIP, CLIP)
    return scaled


def inputs_of(column: Column, table: Table, name: str) -> tuple[Floats, Floats]:
    """Return the standardised values (or frequencies) of a feature and its missing indicator.

    The first holds NaN where the value is missing. A level that the reference did not hold has
    frequency 0.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> reference = Reference.of(table_of({"x": [1.0, 3.0]}))
    >>> values, missing = inputs_of(reference.numeric[0], table_of({"x": [4.0, np.nan]}), "x")
    >>> values.tolist(), missing.tolist()
    ([2.0, nan], [0.0, 1.0])
    """
    if name in table.schema.number_at:
        raw = table.number(name)
        gone = np.isnan(raw)
        values = standardise(raw, column.mean, column.scale)
    else:
        at = table.schema.code_at[name]
        codes, levels = table.codes[:, at], table.levels[at]
        gone = codes == MISSING
        share_of = dict(column.frequencies)
        present, place = np.unique(codes, return_inverse=True)
        raw = np.array(
            [np.nan if code == MISSING else share_of.get(levels[code], 0.0) for code in present]
        )
        values = standardise(raw, column.mean, column.scale)[place]
    there, away = standardise(np.array([0.0, 1.0]), column.missing, column.missing_scale)
    return values, np.where(gone, away, there)


# --- the feature detectors ------------------------------------------------------------------


class Napper:
    """Gives a detector leading zeros only when something else comes after them.

    No detector raises an alarm on a constant, so the alarms are the same; and a column without a
    missing value, which is most of them, costs next to nothing.

    Parameters
    ----------
    detector
        A fresh detector.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.zeros: int | None = 0

    def update_many(self, values: Floats) -> list[int]:
        """Return the 0-based positions in `values` at which an alarm is raised."""
        if self.zeros is not None:
            if not values.any():
                self.zeros += len(values)
                return []
            for start in range(0, self.zeros, NAP_MAX):
                alarms = self.detector.update_many(np.zeros(min(NAP_MAX, self.zeros - start)))
                assert not alarms, "a constant raised an alarm"
            self.zeros = None
        return self.detector.update_many(values)


class FeatureWatch:
    """Feeds standardised features, as records arrive, to the feature detectors.

    Each detector watches two inputs of each of its columns: the value (or, for a category, how
    frequent its level was in the reference) and whether it is missing.

    Parameters
    ----------
    settings
        Detector settings; those that are not on features are ignored.
    schema
        The stream's columns.
    seed
        Where detectors that draw samples get their seed from.

    Raises
    ------
    InputError
        If a detector names a column that is not there.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> setting = s.PageHinkley(kind="page_hinkley", on="features")
    >>> table = table_of({"x": np.tile([-1.0, 1.0], 500)})
    >>> watch = FeatureWatch([setting], table.schema, seed=7)
    >>> watch.refer(Reference.of(table))
    >>> moved = table_of({"x": table.number("x") + 2})
    >>> alarms = watch.update(0, table) + watch.update(1000, moved)
    >>> alarms[0].of_seq, alarms[0].feature, alarms[0].aspect
    (1028, 'x', 'value')
    """

    def __init__(self, settings: Sequence[s.AnyDetector], schema: Schema, seed: int) -> None:
        self._settings = tuple(one for one in settings if one.on == "features")
        self._schema = schema
        self._seed = seed
        self._columns: dict[str, Column] = {}
        self._streams: list[tuple[str, Aspect, int, Napper]] = []
        self._packable: list[int] = []
        self._others: list[int] = []
        self._pack: PageHinkleyPack | None = None
        self._wanted = [frozenset(self._columns_of(one)) for one in self._settings]
        wanted = frozenset().union(*self._wanted)
        self._watched = tuple(name for name in schema.features if name in wanted)

    @property
    def count(self) -> int:
        """The number of features watched by at least one detector."""
        return len(self._watched)

    def _columns_of(self, one: Any) -> tuple[str, ...]:
        """Return the columns that a detector watches, in the order given."""
        columns: tuple[str, ...] = self._schema.features if one.columns is None else one.columns
        there = frozenset(self._schema.features)
        for column in columns:
            if column not in there:
                choices = ", ".join(self._schema.features)
                raise InputError(
                    f"detector {name_of(one)}: there is no column {column}, only {choices}"
                )
        return columns

    def refer(self, reference: Reference) -> None:
        """Start all detectors afresh, against a new reference."""
        columns = reference.numeric + reference.categorical
        self._columns = dict(zip(self._schema.features, columns, strict=True))
        self._streams, self._packable, self._others, self._pack = [], [], [], None
        for feature in self._watched:
            kind: Aspect = "value" if feature in self._schema.number_at else "frequency"
            for aspect in (kind, "missing"):
                seed = derive(self._seed, feature, aspect)
                for order, one in enumerate(self._settings):
                    if feature in self._wanted[order]:
                        packs = feature in self._schema.number_at and one.kind == "page_hinkley"
                        (self._packable if packs else self._others).append(len(self._streams))
                        stream = Napper(build(one, seed))
                        self._streams.append((feature, aspect, order, stream))

    def update(self, first_seq: int, table: Table) -> list[Alarm]:
        """Feed records `first_seq`, ... and return the alarms in a fixed order.

        The order is by record, then detector as in the settings, then feature (numeric before
        categorical, as in the schema), then value or frequency before missing. Until there is a
        reference nothing is watched.

        Parameters
        ----------
        first_seq
            Sequence number of the first record.
        table
            The features of consecutive records.
        """
        if not self._streams or not len(table):
            return []
        kernels = SWITCH.kernels(len(table) * len(self._packable)) if self._packable else None
        if kernels is None:
            self._unpack()
            alarms = self._update_each(table, range(len(self._streams)))
        else:
            alarms = self._update_each(table, self._others)
            for at, row in self._packed().update(kernels, table.numbers):
                alarms.append((self._packable[at], row))
        found = []
        for place, row in alarms:
            feature, aspect, order, _ = self._streams[place]
            seq = first_seq + row
            alarm = Alarm(seq, seq, name_of(self._settings[order]), "features", feature, aspect)
            found.append((seq, order, place, alarm))
        found.sort(key=lambda entry: entry[:3])
        return [alarm for *_, alarm in found]

    def _update_each(self, table: Table, places: Iterable[int]) -> list[tuple[int, int]]:
        """Feed the streams at `places` one by one; return the alarms as places and rows."""
        inputs: dict[tuple[str, str], tuple[Floats, Ints | None]] = {}
        found = []
        for place in places:
            feature, aspect, _, stream = self._streams[place]
            if (feature, aspect) not in inputs:
                values, missing = inputs_of(self._columns[feature], table, feature)
                gone = np.isnan(values)
                rows = np.flatnonzero(~gone) if gone.any() else None
                there = values if rows is None else values[rows]
                inputs[feature, "value"] = inputs[feature, "frequency"] = (there, rows)
                inputs[feature, "missing"] = (missing, None)
            values, rows = inputs[feature, aspect]
            for at in stream.update_many(values):
                found.append((place, int(at if rows is None else rows[at])))
        return found

    def _packed(self) -> PageHinkleyPack:
        """Return the Page-Hinkley tests of numeric columns as one, made if there is none yet."""
        if self._pack is not None:
            return self._pack
        tests, inputs, scales, zeros = [], [], [], []
        for place in self._packable:
            feature, aspect, _, stream = self._streams[place]
            column, missing = self._columns[feature], aspect == "missing"
            inputs.append((self._schema.number_at[feature], int(missing)))
            scales.append(
                (column.missing, column.missing_scale) if missing else (column.mean, column.scale)
            )
            zeros.append(-1 if stream.zeros is None else stream.zeros)
            assert isinstance(stream.detector, PageHinkleyDetector)
            tests.append(stream.detector.compile())
        self._pack = PageHinkleyPack(tests, inputs, scales, zeros, CLIP)
        return self._pack

    def _unpack(self) -> None:
        """Let the Page-Hinkley tests go on one by one."""
        if self._pack is not None:
            for place, zeros in zip(self._packable, self._pack.zeros.tolist(), strict=True):
                self._streams[place][3].zeros = zeros if zeros >= 0 else None
            self._pack = None

    def __getstate__(self) -> dict[str, Any]:
        self._unpack()
        return vars(self)
