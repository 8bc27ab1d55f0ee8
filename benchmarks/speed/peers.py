"""What one would use instead: a loop of one's own, River, CapyMOA; each through its public API.

They take one record at a time, so they are given fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.speed.clock import Sample, clocked
from benchmarks.speed.job import CLASSES, SCHEMA, SEED, Made, tape
from engine.settings import PageHinkley

Row = tuple[list[float], str]


def rows_of(records: int) -> list[Row]:
    """Return the job's first records as a user would hold them: a list of numbers and a label.

    Examples
    --------
    >>> numbers, label = rows_of(3)[0]
    >>> len(numbers), label in CLASSES
    (12, True)
    """
    found: list[Row] = []
    for _, world, place in Made(records).pieces(1024):
        numbers = tape(world).numbers[place].tolist()
        found += zip(numbers, tape(world).labels[place].tolist(), strict=True)
    return found


def detectors() -> tuple[Any, Any, list[Any]]:
    """Return River's ADWIN and Page-Hinkley for the error, and a Page-Hinkley for each feature."""
    from river import drift

    rivers: Any = drift
    feature = PageHinkley(kind="page_hinkley", on="features")
    given = {"delta": feature.delta, "threshold": feature.threshold}
    tests = [rivers.PageHinkley(**given) for _ in SCHEMA.numeric]
    return rivers.ADWIN(), rivers.PageHinkley(mode="up"), tests


def user_loop(model: Any, records: int) -> Callable[[], Sample]:
    """Return the loop that a user would write around CatBoost and River's detectors."""
    rows = rows_of(records)

    def work() -> int:
        adwin, page_hinkley, tests = detectors()
        alarms = 0
        for numbers, label in rows:
            error = float(model.predict(numbers) != label)
            for value, test in zip(numbers, tests, strict=True):
                test.update(value)
                alarms += test.drift_detected
            adwin.update(error)
            page_hinkley.update(error)
            alarms += adwin.drift_detected + page_hinkley.drift_detected
        return alarms

    return lambda: clocked(records, work)


def river_hat(records: int) -> Callable[[], Sample]:
    """Return River's Hoeffding adaptive tree in a loop with the same detectors.

    It learns on every record, which the others do not.
    """
    from river import tree

    rivers: Any = tree
    rows = [(dict(zip(SCHEMA.numeric, numbers, strict=True)), y) for numbers, y in rows_of(records)]

    def work() -> int:
        model = rivers.HoeffdingAdaptiveTreeClassifier(seed=SEED)
        adwin, page_hinkley, tests = detectors()
        alarms = 0
        for numbers, label in rows:
            error = float(model.predict_one(numbers) != label)
            model.learn_one(numbers, label)
            for value, test in zip(numbers.values(), tests, strict=True):
                test.update(value)
                alarms += test.drift_detected
            adwin.update(error)
            page_hinkley.update(error)
            alarms += adwin.drift_detected + page_hinkley.drift_detected
        return alarms

    return lambda: clocked(records, work)


def has_capymoa() -> bool:
    """Return whether CapyMOA is installed (it is not among Driftline's dependencies)."""
    return find_spec("capymoa") is not None


def capymoa(records: int, folder: Path) -> Callable[[], Sample]:
    """Return CapyMOA's prequential evaluation of MOA's Hoeffding adaptive tree, its loop in Java.

    Tree and ADWIN are in one there; nothing watches the features. The records come from an ARFF
    file, because only a stream that Java reads is driven by Java.
    """
    from capymoa.classifier import HoeffdingAdaptiveTree
    from capymoa.evaluation import prequential_evaluation
    from capymoa.stream import ARFFStream

    file = folder / f"capymoa-{records}.arff"
    head = [f"@attribute {name} numeric" for name in SCHEMA.numeric]
    head = ["@relation speed", *head, f"@attribute label {{{','.join(CLASSES)}}}", "@data"]
    body = [",".join([*map(repr, numbers), label]) for numbers, label in rows_of(records)]
    file.write_text("\n".join([*head, *body]) + "\n", encoding="utf-8")

    def sample() -> Sample:
        stream = ARFFStream(path=str(file))
        learner = HoeffdingAdaptiveTree(schema=stream.get_schema(), random_seed=SEED)
        return clocked(records, lambda: prequential_evaluation(stream=stream, learner=learner))

    return sample
