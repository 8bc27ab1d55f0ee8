"""The error of a prediction: what detectors watch, policies price and judges compare."""

from __future__ import annotations

import numpy as np

from engine.batch import Floats, Labels, known


def prediction_errors(
    values: Labels, labels: Labels, scale: float, *, complete: bool = False
) -> Floats:
    """Return the error of each prediction against its label, shape `(n,)`.

    Parameters
    ----------
    values
        Predictions: objects (`str`, or None where nothing was predicted) or float64.
    labels
        The truth: objects (`str`, or None where unknown) or float64 with NaN where unknown.
    scale
        Regression: the size of an error that counts as 1, in units of the label.
    complete
        Classification: whether it is known that no label and no prediction is missing.

    Returns
    -------
    Classification: 0.0 where right, 1.0 where wrong. Regression: absolute difference ÷ `scale`.
    NaN where the label or the prediction is missing.

    Examples
    --------
    >>> said = np.array(["a", "b", "a"], dtype=object)
    >>> prediction_errors(said, np.array(["a", "a", None], dtype=object), 1.0).tolist()
    [0.0, 1.0, nan]
    >>> prediction_errors(np.array([1.0, 5.0]), np.array([2.0, np.nan]), 2.0).tolist()
    [0.5, nan]
    """
    if labels.dtype != object:
        distances: Floats = np.abs(labels - values) / scale
        return distances
    errors: Floats = np.not_equal(values, labels).astype(np.float64)
    if complete:
        return errors
    there = known(labels) & known(values)
    if not there.all():
        errors[~there] = np.nan
    return errors
