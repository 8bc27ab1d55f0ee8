"""Results on disk by job id: whoever asks for the same job again finds its result here.

An entry is a folder, written under another name and renamed when whole. `meta.json` carries the
hash of the model file, so that a damaged entry is noticed, treated as absent and replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.batch import Schema
from engine.errors import EngineError, InputError
from engine.settings import CatBoostModel, PythonModel
from engine.training.fit import reach
from engine.training.jobs import Failed, Fitted, Job, Predictor
from engine.training.models import (
    CatBoostPredictor,
    ConstantPredictor,
    PythonPredictor,
    describe_with_type,
    load_catboost,
)

FORMAT = 1
"""Version of the entries' form; entries of another version count as absent."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where results are kept.

    Parameters
    ----------
    private
        Folder of one run: failures and users' own models, whose code may change between runs.
    shared
        Folder that runs share: CatBoost's models and constants, which the job id describes in
        full. Without one these go to `private` too.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.batch import table_of
    >>> job = Job(table_of({"x": [1.0]}), np.array(["a"], dtype=object), CatBoostModel(), 7)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     store.save("5f", job, Fitted(ConstantPredictor("a"), ("one class",)))
    ...     store.load("5f").predictor, store.load("6a")
    (ConstantPredictor(value='a', score=1.0), None)
    """

    private: Path
    shared: Path | None = None

    def load(self, job_id: str) -> Fitted | Failed | None:
        """Return the result of a job; None if there is none, or only a damaged one."""
        for root in (self.private, self.shared):
            if root is not None:
                result = _read(_entry(root, job_id))
                if result is not None:
                    return result
        return None

    def save(self, job_id: str, job: Job, result: Fitted | Failed) -> None:
        """Keep the result of a job; a whole entry that is there already stays.

        Raises
        ------
        EngineError
            If a user's model cannot be pickled.
        """
        root = self.private
        if self.shared and isinstance(result, Fitted) and isinstance(job.model, CatBoostModel):
            root = self.shared
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
        try:
            _write(draft, job, result)
            _publish(draft, _entry(root, job_id))
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _entry(root: Path, job_id: str) -> Path:
    return root / job_id[:2] / job_id


def _publish(draft: Path, entry: Path) -> None:
    entry.parent.mkdir(exist_ok=True)
    try:
        draft.rename(entry)
        return
    except OSError:
        if not entry.exists():
            raise
    if _read(entry) is None:
        damaged = draft.with_name(f"{draft.name}-damaged")
        entry.rename(damaged)
        draft.rename(entry)
        shutil.rmtree(damaged, ignore_errors=True)


# --- one entry ------------------------------------------------------------------------------


def _write(folder: Path, job: Job, result: Fitted | Failed) -> None:
    schema = job.table.schema
    meta: dict[str, Any] = {
        "format": FORMAT,
        "schema": [list(schema.numeric), list(schema.categorical), schema.task],
    }
    if isinstance(result, Failed):
        meta |= {"kind": "failed", "reason": result.reason}
    else:
        meta |= {"notes": list(result.notes), "details": dict(result.details)}
        meta |= {"trials": list(result.trials)} if result.trials else {}
        meta |= _write_model(folder, result.predictor, job.code_root)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _write_model(folder: Path, predictor: Predictor, code_root: str) -> dict[str, Any]:
    if isinstance(predictor, ConstantPredictor):
        return {"kind": "constant", "value": predictor.value, "score": predictor.score}
    about: dict[str, Any] = {"classes": list(predictor.classes)}
    if isinstance(predictor, CatBoostPredictor):
        predictor.model.save_model(str(folder / "model.cbm"))
        about |= {"kind": "catboost", "file": "model.cbm"}
    else:
        assert isinstance(predictor, PythonPredictor)
        (folder / "model.pkl").write_bytes(_pickled(predictor.model))
        root = str(Path(code_root).resolve()) if code_root else ""
        about |= {"kind": "python", "file": "model.pkl", "code_root": root}
        about["vectorised"] = predictor.vectorised
    data = (folder / about["file"]).read_bytes()
    return about | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _pickled(model: Any) -> bytes:
    try:
        data = pickle.dumps(model)
        pickle.loads(data)
    except Exception as error:
        message = f"the model cannot be pickled: {describe_with_type(error)}"
        raise EngineError(message) from error
    return data


def _read(entry: Path) -> Fitted | Failed | None:
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            return None
        if meta["kind"] == "failed":
            return Failed(meta["reason"])
        predictor = _read_model(entry, meta)
        if predictor is None:
            return None
        trials = tuple(meta.get("trials", ()))
        return Fitted(predictor, tuple(meta["notes"]), meta["details"], trials)
    except (OSError, ValueError, KeyError, TypeError, EngineError):
        return None


def _read_model(entry: Path, meta: dict[str, Any]) -> Predictor | None:
    if meta["kind"] == "constant":
        return ConstantPredictor(meta["value"], meta["score"])
    file = entry / meta["file"]
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != meta["sha256"]:
        return None
    numeric, categorical, task = meta["schema"]
    schema = Schema(tuple(numeric), tuple(categorical), task)
    if meta["kind"] == "catboost":
        return load_catboost(file, schema)
    reach(meta["code_root"])
    try:
        model = pickle.loads(data)
    except Exception:  # the user's code has changed since, in whatever way
        return None
    return PythonPredictor(schema, tuple(meta["classes"]), model, meta["vectorised"])


# --- a model in production ------------------------------------------------------------------


def load_initial(
    path: str | os.PathLike[str],
    settings: CatBoostModel | PythonModel,
    schema: Schema,
    code_root: str = "",
) -> Predictor:
    """Read the model that a run starts from (`model.initial`).

    Parameters
    ----------
    path
        CatBoost: a ``.cbm`` or ``.json`` file. Python: a pickle of an object with `predict`.
    settings
        The `model` of the scenario; its kind says what the file must hold.
    schema
        The stream's columns. A model without feature names is taken to have them in this order.
    code_root
        Where a pickled model's own modules may be, besides the Python path.

    Raises
    ------
    InputError
        If the file is missing, holds no such model, or one for other columns.

    Examples
    --------
    >>> load_initial("none.cbm", CatBoostModel(), Schema(("x",), ()))
    Traceback (most recent call last):
    ...
    engine.errors.InputError: model.initial: there is no file none.cbm
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"model.initial: there is no file {file}")
    if isinstance(settings, PythonModel):
        return _initial_python(file, settings, schema, code_root)
    if file.suffix not in (".cbm", ".json"):
        message = f"model.initial: {file} must end in .cbm or .json, CatBoost's own formats"
        raise InputError(message)
    try:
        return load_catboost(file, schema, file.suffix[1:])
    except EngineError as error:
        raise InputError(f"model.initial: {file} {error}") from error


def _initial_python(
    file: Path, settings: PythonModel, schema: Schema, code_root: str
) -> PythonPredictor:
    reach(code_root)
    try:
        model = pickle.loads(file.read_bytes())
    except Exception as error:
        message = f"model.initial: {file} cannot be unpickled ({describe_with_type(error)})"
        raise InputError(message) from error
    if not callable(getattr(model, "predict", None)):
        kind = type(model).__name__
        raise InputError(f"model.initial: {file} holds a {kind} without predict")
    named = getattr(model, "feature_names_in_", None)
    if named is not None and tuple(map(str, named)) != schema.features:
        given = ", ".join(map(str, list(named)[:3]))
        wanted = ", ".join(schema.features[:3])
        raise InputError(
            f"model.initial: {file} was trained on other features: {given}, ... "
            f"where the stream has {wanted}, ..."
        )
    classification = schema.task == "classification"
    known = [str(name) for name in getattr(model, "classes_", ())] if classification else []
    return PythonPredictor(schema, tuple(sorted(known)), model, settings.vectorised)
