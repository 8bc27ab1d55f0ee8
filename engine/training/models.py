"""The trained models: each answers a table, row by row and whatever rows stand beside it.

CatBoost is imported here only, and only when a model of its kind is trained, loaded or asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.batch import MISSING, Codes, Labels, Schema, Table
from engine.errors import EngineError
from engine.training.jobs import Prediction

if TYPE_CHECKING:
    import pandas as pd

BLANK = ""
"""What a missing categorical value is to CatBoost."""


def catboost_library() -> ModuleType:
    """Import CatBoost (0.7 s the first time) and return it.

    Examples
    --------
    >>> catboost_library().__name__
    'catboost'
    """
    import catboost

    library: ModuleType = catboost
    return library


def describe(error: BaseException) -> str:
    """Return the error as one line fit for an event: no folders, no addresses, no places in code.

    Examples
    --------
    >>> describe(ValueError("cannot read /home/me/data.csv at 0x7f3a\\nand more"))
    'cannot read data.csv at 0x...'
    """
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else ""
    text = re.sub(r"^[\w./]+\.(cpp|h|pyx):\d+: ", "", text)
    text = re.sub(r"(?<![\w/:.])(?:/[^\s/'\"]+)+/(?=[^\s/'\"])", "", text)
    text = re.sub(r"0x[0-9a-fA-F]+", "0x...", text)
    return text[:300]


def describe_with_type(error: BaseException) -> str:
    """Return the error's type and its one line.

    Examples
    --------
    >>> describe_with_type(KeyError("x")), describe_with_type(MemoryError())
    ("KeyError: 'x'", 'MemoryError')
    """
    line = describe(error)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


# --- constant models ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConstantPredictor:
    """Answers the same for every record: all that a window without contrast can teach.

    Parameters
    ----------
    value
        The class, or the number.
    score
        Its share of the training window; of no meaning for a number.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> answer = ConstantPredictor("yes", 0.75).predict(table_of({"x": [1.0, 2.0]}))
    >>> answer.values.tolist(), answer.scores.tolist()
    (['yes', 'yes'], [0.75, 0.75])
    """

    value: str | float
    score: float = 1.0

    @property
    def classes(self) -> tuple[str, ...]:
        """The one class; none for a number."""
        return (self.value,) if isinstance(self.value, str) else ()

    def predict(self, table: Table) -> Prediction:
        """Answer the constant for each row of `table`."""
        rows = len(table)
        if isinstance(self.value, str):
            values: Labels = np.full(rows, self.value, dtype=object)
            return Prediction(values, np.full(rows, self.score))
        return Prediction(np.full(rows, self.value), np.full(rows, np.nan))


# --- CatBoost -------------------------------------------------------------------------------


def as_float32(table: Table) -> NDArray[np.float32]:
    """Return the numeric features as CatBoost holds them: float32, column by column.

    Numbers beyond its range become infinite.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> as_float32(table_of({"x": [1e300, 0.5]})).ravel().tolist()
    [inf, 0.5]
    """
    with np.errstate(over="ignore"):
        return np.asfortranarray(table.numbers, dtype=np.float32)


def blank_codes(table: Table, at: int) -> tuple[Codes, tuple[str, ...]]:
    """Return codes and levels of categorical column `at`, a missing value being a level too.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> codes, levels = blank_codes(table_of({"c": ["a", None]}, categorical=["c"]), 0)
    >>> codes.tolist(), levels
    ([0, 1], ('a', ''))
    """
    levels = table.levels[at]
    if BLANK not in levels:
        levels = (*levels, BLANK)
    codes = table.codes[:, at]
    return np.where(codes == MISSING, np.int32(levels.index(BLANK)), codes), levels


def catboost_input(table: Table) -> Any:
    """Return the features as CatBoost takes them fastest.

    Returns
    -------
    A float32 array if all features are numeric, else a pandas DataFrame.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> catboost_input(table_of({"x": [1.0], "c": [None]}, categorical=["c"]))["c"].tolist()
    ['']
    """
    numbers = as_float32(table)
    if not table.schema.categorical:
        return numbers
    import pandas as pd

    columns: dict[str, Any] = {name: numbers[:, at] for at, name in enumerate(table.schema.numeric)}
    for at, name in enumerate(table.schema.categorical):
        codes, levels = blank_codes(table, at)
        columns[name] = pd.Categorical.from_codes(codes, categories=pd.Index(levels, dtype=object))
    return pd.DataFrame(columns, copy=False)


@dataclass(frozen=True, slots=True)
class CatBoostPredictor:
    """A CatBoost model.

    Parameters
    ----------
    schema
        The columns that it was trained on; a table of others is refused.
    classes
        Its classes in the model's own order; empty for regression.
    model
        The `CatBoostClassifier` or `CatBoostRegressor`.
    """

    schema: Schema
    classes: tuple[str, ...]
    model: Any

    def predict(self, table: Table) -> Prediction:
        """Answer for each row of `table`: one call, one thread.

        Raises
        ------
        EngineError
            If the table's columns are not those that the model was trained on.
        """
        check_schema(self.schema, table.schema)
        if len(table) == 0:
            return empty_prediction(self.schema)
        data = catboost_input(table)
        if self.schema.task == "regression":
            numbers = np.asarray(self.model.predict(data, thread_count=1), dtype=np.float64)
            return Prediction(numbers.ravel(), np.full(len(table), np.nan))
        shares = self.model.predict_proba(data, thread_count=1)
        if len(self.classes) == 2:
            threshold = self.model.get_probability_threshold()
            best = (shares[:, 1] > threshold).astype(np.intp)
        else:
            best = shares.argmax(axis=1)
        values = np.array(self.classes, dtype=object)[best]
        return Prediction(values, shares[np.arange(len(best)), best], best)


def load_catboost(path: Path, schema: Schema, file_format: str = "cbm") -> CatBoostPredictor:
    """Read a model that CatBoost saved.

    Parameters
    ----------
    path
        The file.
    schema
        The columns of the tables that it will answer.
    file_format
        ``cbm`` or ``json``.

    Raises
    ------
    EngineError
        If the file is no CatBoost model, or one for another task or other columns.
    """
    library = catboost_library()
    classification = schema.task == "classification"
    model = library.CatBoostClassifier() if classification else library.CatBoostRegressor()
    try:
        model.load_model(str(path), format=file_format)
    except (library.CatBoostError, ValueError, UnicodeDecodeError) as error:
        raise EngineError(f"is not a CatBoost model ({describe(error)})") from error
    classes = tuple(str(name) for name in model.classes_)
    if classification != bool(classes):
        was = "classification" if classes else "regression"
        raise EngineError(f"is a model for {was}, but the labels call for {schema.task}")
    names = tuple(model.feature_names_)
    unnamed = names == tuple(str(at) for at in range(len(names)))
    if len(names) != len(schema.features) or (names != schema.features and not unnamed):
        raise EngineError(difference(names, schema.features))
    texts = sorted(model.get_text_feature_indices() + model.get_embedding_feature_indices())
    cats = list(range(len(schema.numeric), len(schema.features)))
    if texts or sorted(model.get_cat_feature_indices()) != cats:
        raise EngineError(
            "takes other kinds of features: numeric ones must come first, then the categorical "
            f"ones ({', '.join(schema.categorical) or 'none here'}), and none of text"
        )
    return CatBoostPredictor(schema, classes, model)


def difference(given: tuple[str, ...], wanted: tuple[str, ...], shown: int = 3) -> str:
    """Say in half a sentence how a model's features differ from those of the stream.

    Examples
    --------
    >>> difference(("x", "q"), ("x", "y"))
    'was trained on other features: it lacks y; it also wants q'
    """
    lacking = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]

    def some(names: list[str]) -> str:
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        return ", ".join(names[:shown]) + more

    parts = []
    if lacking:
        parts.append(f"it lacks {some(lacking)}")
    if unknown:
        parts.append(f"it also wants {some(unknown)}" if lacking else f"it wants {some(unknown)}")
    if not parts:
        pairs = [(a, b) for a, b in zip(given, wanted, strict=True) if a != b]
        parts.append(f"their order differs, first {pairs[0][0]} where the stream has {pairs[0][1]}")
    return f"was trained on other features: {'; '.join(parts)}"


# --- the user's own models ------------------------------------------------------------------


def frame_of(table: Table) -> pd.DataFrame:
    """Return the features as a user's model gets them: float columns, then columns of texts.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> frame_of(table_of({"x": [1.5], "c": [None]}, categorical=["c"])).dtypes.astype(str).tolist()
    ['float64', 'object']
    """
    import pandas as pd

    columns: dict[str, Any] = {name: table.number(name).copy() for name in table.schema.numeric}
    columns |= {name: table.texts(name) for name in table.schema.categorical}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table)))


@dataclass(frozen=True, slots=True)
class PythonPredictor:
    """A user's own model.

    Parameters
    ----------
    schema
        The columns that it was trained on; a table of others is refused.
    classes
        The classes of its training window, sorted; empty for regression.
    model
        The object with `predict` and perhaps `predict_proba`.
    vectorised
        Whether it may be asked for many rows in one call.
    """

    schema: Schema
    classes: tuple[str, ...]
    model: Any
    vectorised: bool = False

    def predict(self, table: Table) -> Prediction:
        """Answer for each row of `table`.

        Raises
        ------
        EngineError
            If the model raises, or answers too few rows, too many or with no value.
        """
        check_schema(self.schema, table.schema)
        if len(table) == 0:
            return empty_prediction(self.schema)
        frame = frame_of(table)
        if self.vectorised or len(table) == 1:
            return self._answer(frame)
        single = [
            self._answer(frame.iloc[at : at + 1].reset_index(drop=True)) for at in range(len(frame))
        ]
        return Prediction(
            np.concatenate([one.values for one in single]),
            np.concatenate([one.scores for one in single]),
        )

    def _answer(self, frame: pd.DataFrame) -> Prediction:
        values = self._ask("predict", frame)
        values = values.ravel() if values.size == len(frame) else values
        if values.shape != (len(frame),):
            given = "x".join(str(size) for size in values.shape) or "a single value"
            raise EngineError(f"the model's predict answered {given} for {len(frame)} rows")
        if self.schema.task == "classification":
            if any(value is None or value != value for value in values):
                raise EngineError("the model's predict answered without a class")
            values = np.array([str(value) for value in values] + [None], dtype=object)[:-1]
            return Prediction(values, self._scores(frame, values))
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise EngineError(f"the model's predict gave no number: {describe(error)}") from error
        if not np.isfinite(numbers).all():
            raise EngineError("the model's predict gave a number that is not finite")
        return Prediction(numbers, np.full(len(frame), np.nan))

    def _scores(self, frame: pd.DataFrame, values: Labels) -> NDArray[np.float64]:
        unknown = np.full(len(frame), np.nan)
        if not callable(getattr(self.model, "predict_proba", None)):
            return unknown
        order = [str(name) for name in getattr(self.model, "classes_", self.classes)]
        shares = self._ask("predict_proba", frame)
        if shares.shape != (len(frame), len(order)):
            return unknown
        at = {name: index for index, name in enumerate(order)}
        return np.array(
            [
                row[at[value]] if value in at else np.nan
                for row, value in zip(shares, values, strict=True)
            ],
            dtype=np.float64,
        )

    def _ask(self, method: str, frame: pd.DataFrame) -> NDArray[Any]:
        call: Callable[[pd.DataFrame], Any] = getattr(self.model, method)
        try:
            return np.asarray(call(frame))
        except Exception as error:
            message = f"the model's {method} failed with {describe_with_type(error)}"
            raise EngineError(message) from error


# --- what all of them share -----------------------------------------------------------------


def empty_prediction(schema: Schema) -> Prediction:
    """Return the answer to no rows.

    Examples
    --------
    >>> len(empty_prediction(Schema(("x",), ())).values)
    0
    """
    kind = object if schema.task == "classification" else np.float64
    return Prediction(np.empty(0, dtype=kind), np.empty(0))


def check_schema(trained: Schema, given: Schema) -> None:
    """Raise EngineError unless `given` has the columns that a model was trained on, in order.

    Examples
    --------
    >>> check_schema(Schema(("x", "y"), ()), Schema(("x", "y"), ()))
    """
    if (given.numeric, given.categorical) != (trained.numeric, trained.categorical):
        reason = (
            difference(trained.features, given.features)
            if trained.features != given.features
            else "was trained with other columns being categorical"
        )
        raise EngineError(f"the model {reason}")
