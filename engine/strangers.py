"""Labels that the champion does not know: told at the first, and whenever they have doubled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.batch import Ints, Labels, Mark


@dataclass(slots=True)
class Strangers:
    """Counts the labels that are none of the champion's classes, afresh for each champion.

    Parameters
    ----------
    model
        Number of the champion that they are counted for.
    count
        How many there were so far.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array(["a", "c", "c", "d", "c"], dtype=object)
    >>> marks = Strangers().update(0, ["a", "b"], np.arange(5) + 9, np.arange(5), labels)
    >>> [(mark.seq, mark.details["of_seq"], mark.details["so_far"]) for mark in marks]
    [(10, 1, 1), (11, 2, 2), (13, 4, 4)]
    """

    model: int = -1
    count: int = 0

    def update(
        self, model: int, classes: Sequence[str], arrivals: Ints, seqs: Ints, labels: Labels
    ) -> list[Mark]:
        """Return what to tell of labels in the order in which they became known.

        Parameters
        ----------
        model
            Number of the champion.
        classes
            What it can answer; empty for numbers.
        arrivals
            Sequence numbers of the arrivals at which the labels became known.
        seqs
            Sequence numbers of the records that the labels belong to.
        labels
            The labels.
        """
        if model != self.model:
            self.model, self.count = model, 0
        known, marks, given = set(classes), [], labels.tolist()
        if not known or known.issuperset(given):
            return []
        for at, label in enumerate(given):
            if label in known:
                continue
            self.count += 1
            if self.count & (self.count - 1):  # no power of two
                continue
            what = f"the label {label[:60]!r} is none of the champion's classes"
            about = {"model": model, "what": f"{what}: an error that it cannot avoid"}
            details = {**about, "of_seq": int(seqs[at]), "so_far": self.count}
            marks.append(Mark(int(arrivals[at]), "anomaly", details))
        return marks
