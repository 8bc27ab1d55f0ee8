"""Fitting: a job in, a model or a reason out; odd windows end in a note, never in a crash."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.batch import Labels, Table, Task, known
from engine.errors import EngineError, InputError
from engine.settings import CatBoostModel, PythonModel
from engine.training.jobs import Failed, Fitted, Job, Predictor, Study
from engine.training.models import (
    BLANK,
    CatBoostPredictor,
    ConstantPredictor,
    PythonPredictor,
    as_float32,
    blank_codes,
    catboost_input,
    catboost_library,
    describe,
    describe_with_type,
    frame_of,
)

LABEL_MAX = 1e30
"""Beyond this CatBoost's squared errors overflow."""
FEW_ROWS = 5
"""A class with fewer rows than this is worth a note."""

LOSSES: Mapping[Task, frozenset[str]] = {
    "classification": frozenset({"Logloss", "MultiClass", "MultiClassOneVsAll"}),
    "regression": frozenset(
        ("RMSE", "MAE", "Quantile", "MAPE", "Poisson", "Lq", "Huber", "Expectile", "Tweedie")
    ),
}

ALLOWED = frozenset(
    """
    approx_on_full_history auto_class_weights bagging_temperature best_model_min_trees
    boost_from_average boosting_type bootstrap_type border_count colsample_bylevel combinations_ctr
    counter_calc_method ctr_history_unit ctr_leaf_count_limit ctr_target_border_count
    diffusion_temperature eval_metric feature_border_type feature_weights
    final_ctr_computation_mode first_feature_use_penalties fold_len_multiplier
    fold_permutation_block grow_policy has_time l2_leaf_reg langevin leaf_estimation_backtracking
    leaf_estimation_iterations leaf_estimation_method loss_function max_bin max_ctr_complexity
    max_leaves min_child_samples min_data_in_leaf model_shrink_mode model_shrink_rate
    model_size_reg monotone_constraints mvs_reg nan_mode num_leaves objective one_hot_max_size
    penalties_coefficient per_object_feature_penalties posterior_sampling random_score_type
    random_strength reg_lambda rsm sampling_frequency sampling_unit scale_pos_weight
    score_function simple_ctr sparse_features_conflict_fraction store_all_simple_ctr subsample
    """.split()  # noqa: SIM905
)
"""CatBoost's settings that shape a model and nothing else."""

_FIXED = "is fixed, so that a run can be repeated exactly"
_QUIET = "is fixed: a fit leaves no files and no output behind"
_LABELS = "follows from the labels of each window"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("thread_count", "task_type", "devices", "device_config"), _FIXED),
    **dict.fromkeys(("random_seed", "random_state"), "follows from the scenario's seed"),
    **dict.fromkeys(("allow_writing_files", "train_dir", "logging_level", "verbose"), _QUIET),
    **dict.fromkeys(("silent", "save_snapshot", "snapshot_file", "metric_period"), _QUIET),
    **dict.fromkeys(("class_names", "classes_count", "target_border"), _LABELS),
    "iterations": "is a setting of its own: model.iterations",
    "n_estimators": "is a setting of its own: model.iterations",
    "num_boost_round": "is a setting of its own: model.iterations",
    "num_trees": "is a setting of its own: model.iterations",
    "depth": "is a setting of its own: model.depth",
    "max_depth": "is a setting of its own: model.depth",
    "learning_rate": "is a setting of its own: model.learning_rate",
    "eta": "is a setting of its own: model.learning_rate",
    "early_stopping_rounds": "is a setting of its own: model.early_stopping",
    "od_wait": "is a setting of its own: model.early_stopping",
}


def check_model(
    settings: CatBoostModel | PythonModel, task: Task | None = None
) -> list[tuple[str, str]]:
    """Return what is wrong with a model's settings, as pairs of key and message.

    Parameters
    ----------
    settings
        The `model` of a scenario.
    task
        What the labels are, if known: then a loss function must fit it.

    Examples
    --------
    >>> check_model(CatBoostModel(params={"thread_count": 4}))
    [('params.thread_count', 'is fixed, so that a run can be repeated exactly')]
    >>> check_model(CatBoostModel(params={"l2_leaf_reg": 3.0}))
    []
    """
    if isinstance(settings, PythonModel):
        return []
    problems = []
    for key, value in settings.params.items():
        if key in REFUSED:
            problems.append((f"params.{key}", REFUSED[key]))
        elif key not in ALLOWED:
            message = f"is not among the CatBoost settings allowed: {', '.join(sorted(ALLOWED))}"
            problems.append((f"params.{key}", message))
        elif key in ("loss_function", "objective"):
            losses = LOSSES[task] if task else frozenset().union(*LOSSES.values())
            if str(value).split(":")[0] not in losses:
                known_as = f"for {task} labels" if task else "here"
                message = f"{value!r} is not allowed {known_as}, only {', '.join(sorted(losses))}"
                problems.append((f"params.{key}", message))
    return problems


def fit(job: Job) -> Fitted | Failed:
    """Train what `job` describes; the same job gives the same answers everywhere.

    Returns
    -------
    The model with notes on what was odd about the window, or the reason why there is none.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> table, labels = table_of({"x": [1.0, 2.0]}), np.array(["a", "a"], dtype=object)
    >>> fit(Job(table, labels, CatBoostModel(), seed=7)).notes
    ("the window has one class only, 'a': the model always answers it",)
    """
    problems = check_model(job.model, job.table.schema.task)
    if problems:
        return Failed(f"model.{problems[0][0]} {problems[0][1]}")
    if len(job.table) == 0:
        return Failed("the window has no labelled records")
    assert known(job.labels).all(), "a job's labels must be known"
    constant = _one_label(job)
    if constant is not None:
        return constant
    if job.study is not None:
        return _fit_tuned(job, job.study)
    outcome = _fit_python(job) if isinstance(job.model, PythonModel) else _fit_catboost(job)
    if isinstance(outcome, Fitted):
        return _refuse_odd_answers(outcome, job)
    return outcome


def _fit_tuned(job: Job, study: Study) -> Fitted | Failed:
    """Train what the search came to on the whole window."""
    from engine.training.tune import tune  # which tries settings by `fit`

    found = tune(job, study)
    outcome = fit(replace(job, model=found.model, study=None))
    if isinstance(outcome, Failed):
        return outcome
    details = {**outcome.details, "tuning": found.details}
    return Fitted(outcome.predictor, outcome.notes, details, found.trials)


# --- windows without contrast ---------------------------------------------------------------


def _one_label(job: Job) -> Fitted | None:
    if job.table.schema.task == "classification":
        first = job.labels[0]
        if not (job.labels == first).all():
            return None
        note = f"the window has one class only, {first!r}: the model always answers it"
        return _constant(job, ConstantPredictor(str(first)), note)
    if isinstance(job.model, PythonModel) or not (job.labels == job.labels[0]).all():
        return None
    note = "all labels of the window are equal: the model always answers this number"
    return _constant(job, ConstantPredictor(float(job.labels[0])), note)


def _majority(job: Job, why: str) -> Fitted:
    if job.table.schema.task == "regression":
        note = f"{why}: the model always answers the mean"
        return _constant(job, ConstantPredictor(float(np.mean(job.labels))), note)
    classes, counts = np.unique(job.labels.astype(str), return_counts=True)
    best = int(counts.argmax())
    name, share = str(classes[best]), float(counts[best] / counts.sum())
    note = f"{why}: the model always answers the most frequent class, {name!r}"
    return _constant(job, ConstantPredictor(name, share), note)


def _constant(job: Job, predictor: ConstantPredictor, note: str) -> Fitted:
    return Fitted(predictor, (note,), {"rows": len(job.table), "trees": 0})


def varies(table: Table) -> bool:
    """Return whether any feature takes two values, a missing one being a value of its own.

    Examples
    --------
    >>> from engine.batch import table_of
    >>> varies(table_of({"x": [1.0, 1.0], "y": [float("nan")] * 2}))
    False
    >>> varies(table_of({"x": [1.0, float("nan")]}))
    True
    """
    if len(table) < 2:
        return False
    numbers = as_float32(table)
    missing = np.isnan(numbers)
    if ((numbers != numbers[0]) & ~(missing & missing[0])).any():
        return True
    columns = (blank_codes(table, at)[0] for at in range(len(table.schema.categorical)))
    return any(bool((codes != codes[0]).any()) for codes in columns)


def _notes(job: Job) -> list[str]:
    notes = []
    table, schema = job.table, job.table.schema
    empty = [name for name in schema.numeric if np.isnan(table.number(name)).all()]
    for at, name in enumerate(schema.categorical):
        codes, levels = blank_codes(table, at)
        if (codes == levels.index(BLANK)).all():
            empty.append(name)
    if empty:
        notes.append(f"no value at all in {_listed(empty)}")
    infinite = np.isinf(as_float32(table))
    names = [name for at, name in enumerate(schema.numeric) if infinite[:, at].any()]
    if names:
        notes.append(f"numbers too large for 32 bits count as infinite in {_listed(names)}")
    if schema.task == "classification":
        classes, counts = np.unique(job.labels.astype(str), return_counts=True)
        rare = [repr(str(name)) for name, n in zip(classes, counts, strict=True) if n < FEW_ROWS]
        if rare:
            notes.append(f"fewer than {FEW_ROWS} records of class {_listed(rare)}")
    return notes


def _listed(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


# --- CatBoost -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Split:
    """Where the rows for early stopping begin; None, and why, if there can be none."""

    cut: int | None
    note: str = ""


def _split(job: Job) -> _Split:
    rows = len(job.table)
    cut = rows - rows // 5
    why = ""
    old, new = job.labels[:cut], job.labels[cut:]
    if cut == rows:
        why = f"{rows} records are too few"
    elif not varies(job.table[:cut]):
        why = "all features are constant in the older four fifths"
    elif job.table.schema.task == "classification":
        if set(old) != set(job.labels):
            why = "the newest fifth holds a class that the rest does not"
        elif len(set(new)) == 1:
            why = "the newest fifth has one class only"
    elif (old == old[0]).all():
        why = "all labels of the older four fifths are equal"
    return _Split(None, f"no early stopping: {why}") if why else _Split(cut)


def _fit_catboost(job: Job) -> Fitted | Failed:
    assert isinstance(job.model, CatBoostModel)
    schema = job.table.schema
    if not schema.features:
        return _majority(job, "there is no feature")
    if not varies(job.table):
        return _majority(job, "all features are constant")
    if schema.task == "regression" and not (np.abs(job.labels) <= LABEL_MAX).all():
        return Failed(f"a label is beyond {LABEL_MAX:g}, the largest that CatBoost can be given")
    split = _Split(len(job.table)) if job.model.early_stopping is None else _split(job)
    cut = len(job.table) if split.cut is None else split.cut
    notes = _notes(job) + ([split.note] if split.note else [])
    library = catboost_library()
    try:
        model = _run_catboost(job, job.model, cut)
    except library.CatBoostError as error:
        if "constant or ignored" in str(error):
            return _majority(job, "all features are constant")
        return Failed(f"CatBoost: {describe(error)}")
    classes = tuple(str(name) for name in model.classes_)
    details = {"rows": len(job.table), "trees": int(model.tree_count_)}
    return Fitted(CatBoostPredictor(schema, classes, model), tuple(notes), details)


def _run_catboost(job: Job, settings: CatBoostModel, cut: int) -> Any:
    library, schema = catboost_library(), job.table.schema
    params: dict[str, Any] = {
        **settings.params,
        "iterations": settings.iterations,
        "depth": settings.depth,
        "random_seed": job.seed % 2**31,
        "thread_count": 1,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    if settings.learning_rate is not None:
        params["learning_rate"] = settings.learning_rate

    def pool(table: Table, labels: Labels) -> Any:
        names, kinds = list(schema.features), list(schema.categorical) or None
        return library.Pool(
            catboost_input(table), labels, feature_names=names, cat_features=kinds, thread_count=1
        )

    rest: dict[str, Any] = {}
    if cut < len(job.table):
        rest["eval_set"] = pool(job.table[cut:], job.labels[cut:])
        rest["early_stopping_rounds"] = settings.early_stopping
    if schema.task == "classification":
        params["class_names"] = sorted(set(job.labels))
        if "objective" not in params:
            binary = len(params["class_names"]) == 2
            params.setdefault("loss_function", "Logloss" if binary else "MultiClass")
        model = library.CatBoostClassifier(**params)
    else:
        if "objective" not in params:
            params.setdefault("loss_function", "RMSE")
        model = library.CatBoostRegressor(**params)
    model.fit(pool(job.table[:cut], job.labels[:cut]), **rest)
    return model


# --- the user's own models ------------------------------------------------------------------


def reach(code_root: str) -> None:
    """Let modules in `code_root` be imported, behind everything that is already on the path.

    Examples
    --------
    >>> reach("")
    """
    folder = str(Path(code_root).resolve()) if code_root else ""
    if folder and folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()


def load_factory(name: str, code_root: str = "") -> Callable[..., Any]:
    """Return the function that ``package:function`` names.

    Parameters
    ----------
    name
        Module and function, joined by a colon.
    code_root
        A folder in which the module may be, besides the Python path.

    Raises
    ------
    InputError
        If there is no such module or function, or another module of that name came first.

    Examples
    --------
    >>> load_factory("collections:OrderedDict").__name__
    'OrderedDict'
    """
    reach(code_root)
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        message = f"cannot import {module_name}: {describe_with_type(error)}"
        raise InputError(f"model.factory: {message}") from error
    if code_root:
        _refuse_namesake(module_name, str(getattr(module, "__file__", "") or ""), code_root)
    found = getattr(module, function, None)
    if not callable(found):
        raise InputError(f"model.factory: {module_name} has no function {function}")
    made: Callable[..., Any] = found
    return made


def _refuse_namesake(module_name: str, file: str, code_root: str) -> None:
    root = Path(code_root).resolve()
    path = root.joinpath(*module_name.split("."))
    ours = path.with_suffix(".py"), path / "__init__.py"
    if any(one.exists() for one in ours) and not Path(file).resolve().is_relative_to(root):
        raise InputError(
            f"model.factory: another module named {module_name} comes first on the Python path; "
            "rename yours"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make the global generators, which a user's model may draw from, start at `seed`.

    Examples
    --------
    >>> with seeded(7): first = random.random()
    >>> with seeded(7): first == random.random()
    True
    """
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)  # noqa: NPY002


def _fit_python(job: Job) -> Fitted | Failed:
    settings = job.model
    assert isinstance(settings, PythonModel)
    try:
        make = load_factory(settings.factory, job.code_root)
    except InputError as error:
        return Failed(error.message)
    try:
        with seeded(job.seed):
            model = make(**settings.params)
            model.fit(frame_of(job.table), job.labels.copy())
    except (Exception, SystemExit) as error:
        return Failed(f"the model's fit failed with {describe_with_type(error)}")
    if not callable(getattr(model, "predict", None)):
        return Failed(f"{settings.factory} made a {type(model).__name__} without predict")
    classification = job.table.schema.task == "classification"
    classes = tuple(sorted(set(job.labels))) if classification else ()
    predictor = PythonPredictor(job.table.schema, classes, model, settings.vectorised)
    return Fitted(predictor, tuple(_notes(job)), {"rows": len(job.table)})


def _refuse_odd_answers(outcome: Fitted, job: Job) -> Fitted | Failed:
    predictor: Predictor = outcome.predictor
    try:
        answer = predictor.predict(job.table[-1:])
    except EngineError as error:
        return Failed(describe(error))
    numbers = answer.values if job.table.schema.task == "regression" else answer.scores
    if isinstance(predictor, CatBoostPredictor) and not np.isfinite(numbers).all():
        return Failed("CatBoost's model answers with numbers that are not finite")
    return outcome
