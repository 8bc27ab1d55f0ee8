"""A version's artifact as something that answers: for the server, and for `mlflow.pyfunc`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.batch import Schema, Table, encode
from engine.errors import EngineError
from engine.training.jobs import Fitted, Prediction, Predictor
from engine.training.store import Store

if TYPE_CHECKING:
    import pandas as pd

CARD = "driftline.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a version holds, ready to answer.

    Parameters
    ----------
    schema
        The columns that it wants, numeric ones first.
    predictor
        The model, the same that answered the stream.
    card
        Where it comes from.
    """

    schema: Schema
    predictor: Predictor
    card: Mapping[str, Any]

    def predict(self, data: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Answer a frame with one of columns ``label`` and ``score``: what `mlflow.pyfunc` asks."""
        import pandas as pd

        answer = self.predictor.predict(table_of_frame(data, self.schema))
        return pd.DataFrame({"label": answer.values, "score": answer.scores}, index=data.index)

    def answers(self, table: Table) -> Prediction:
        """Answer a table."""
        return self.predictor.predict(table)


def load(folder: Path) -> Artifact:
    """Load an artifact from the folder that holds its card.

    Raises
    ------
    EngineError
        If it is damaged, or none of Driftline's.
    """
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        numeric, categorical, task = card["schema"]
        schema = Schema(tuple(numeric), tuple(categorical), task)
        job = str(card["job"])
    except FileNotFoundError:
        raise EngineError("was not registered by Driftline: it has no card") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"is damaged: its card cannot be read ({error})") from None
    found = Store(folder).load(job)
    if not isinstance(found, Fitted):
        raise EngineError("is damaged, or its model's own code cannot be imported here")
    return Artifact(schema, found.predictor, card)


def _load_pyfunc(path: str) -> Artifact:
    """Load an artifact for `mlflow.pyfunc.load_model`."""
    return load(Path(path))


def table_of_frame(frame: pd.DataFrame, schema: Schema) -> Table:
    """Return the columns of a frame that a schema names, as a table.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"c": ["a", None], "x": [1, 2]})
    >>> table = table_of_frame(frame, Schema(("x",), ("c",)))
    >>> table.numbers.ravel().tolist(), table.texts("c").tolist()
    ([1.0, 2.0], ['a', None])
    """
    numbers = np.empty((len(frame), len(schema.numeric)), order="F")
    for at, name in enumerate(schema.numeric):
        numbers[:, at] = frame[name].astype(float)
    codes = np.empty((len(frame), len(schema.categorical)), dtype=np.int32, order="F")
    levels = []
    for at, name in enumerate(schema.categorical):
        cells = [None if cell is None or cell != cell else str(cell) for cell in frame[name]]
        codes[:, at], texts = encode(cells)
        levels.append(texts)
    return Table(schema, numbers, codes, tuple(levels))
