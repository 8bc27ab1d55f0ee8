"""The ceiling: the same work with nothing around it, in one process.

A CatBoost call and compiled detectors per batch; no dataflow, no outcome kept, no labels waited
for. The detectors are a page of C, compiled when the program starts, so that the ceiling does not
move with the engine's own code; they raise River's alarms.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.job import FEATURES, Made, tape
from engine.batch import Floats
from engine.settings import Adwin, PageHinkley
from engine.watch import CLIP

SOURCE = Path(__file__).with_name("detectors.c")
OPTIONS = ("-O2", "-ffp-contract=off", "-shared", "-fPIC")
PAGE_HINKLEY_BYTES = 6 * 8


def compiler() -> str | None:
    """Return the C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(folder: Path) -> Path:
    """Compile the detectors, unless that has been done, and return the library."""
    library = folder / "detectors.so"
    if not library.exists():
        cc = compiler()
        assert cc is not None, "there is no C compiler"
        partial = library.with_suffix(".partial")
        command = [cc, *OPTIONS, "-o", str(partial), str(SOURCE), "-lm"]
        subprocess.run(command, check=True)
        partial.replace(library)
    return library


class Compiled:
    """ADWIN and Page-Hinkley on the error, Page-Hinkley on each feature, in C.

    Parameters
    ----------
    library
        What `compiled` returned.
    centres, scales
        What the features are standardised by, shape `(FEATURES,)`.
    """

    def __init__(self, library: Path, centres: Floats, scales: Floats) -> None:
        self._c: Any = ctypes.CDLL(str(library))
        number, pointer, long = ctypes.c_double, ctypes.c_void_p, ctypes.c_int64
        self._c.adwin_size.restype = self._c.adwin.restype = self._c.page_hinkley.restype = long
        self._c.adwin.argtypes = [pointer, pointer, long, number]
        flags = [ctypes.c_int] * 2
        self._c.page_hinkley.argtypes = [pointer, pointer, long, *[number] * 5, *flags]
        self._adwin = ctypes.create_string_buffer(self._c.adwin_size())
        self._tests = [ctypes.create_string_buffer(PAGE_HINKLEY_BYTES) for _ in range(FEATURES + 1)]
        self._standards = list(zip(centres.tolist(), scales.tolist(), strict=True))
        self._delta = Adwin(kind="adwin").delta
        self._on_error = PageHinkley(kind="page_hinkley")
        self._on_features = PageHinkley(kind="page_hinkley", on="features")
        self.alarms = {"adwin": 0, "page_hinkley": 0, "features": 0}

    def errors(self, errors: Floats) -> None:
        """Feed errors, contiguous, in order."""
        place, rows = errors.ctypes.data, len(errors)
        setting, alarms = self._on_error, self.alarms
        alarms["adwin"] += self._c.adwin(self._adwin, place, rows, self._delta)
        alarms["page_hinkley"] += self._c.page_hinkley(
            *(self._tests[-1], place, rows, 0.0, 1.0, np.inf),
            *(setting.delta, setting.threshold, 1, 0),
        )

    def features(self, numbers: Floats) -> None:
        """Feed features, each column contiguous."""
        assert numbers.strides[0] == numbers.itemsize, numbers.strides
        place, step, rows = numbers.ctypes.data, numbers.strides[1], len(numbers)
        setting, found, test = self._on_features, 0, self._c.page_hinkley
        for at, (centre, scale) in enumerate(self._standards):
            found += test(
                *(self._tests[at], place + at * step, rows, centre, scale, CLIP),
                *(setting.delta, setting.threshold, 1, 1),
            )
        self.alarms["features"] += found


def run(made: Made, model: Any, detectors: Compiled, size: int) -> None:
    """Predict, compare, detect: batch by batch.

    Parameters
    ----------
    made
        The records.
    model
        CatBoost's own model object.
    detectors
        Fresh detectors.
    size
        Records to a batch.
    """
    for _, world, place in made.pieces(size):
        found = tape(world)
        numbers = found.numbers[place]
        data = np.asfortranarray(numbers, dtype=np.float32)
        raw = model.predict(data, prediction_type="RawFormulaVal", thread_count=1)
        detectors.features(numbers)
        detectors.errors(((raw > 0) != found.truth[place]).astype(np.float64))
