"""The registry: what was trained, which version is champion; a folder, or any MLflow server.

MLflow is imported here only, and only when a registry is opened. A version's artifact is the
entry of `engine.training.store` that the run itself answered with, wrapped as an MLflow
``python_function``: so whoever loads it answers as the stream did, to the last bit.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from engine import __version__
from engine.dossiers import Dossier
from engine.errors import EngineError, InputError
from engine.places import ARTIFACTS, Place, Refused, RegistryGone, Version, check_name, version_of

KEY = "driftline.key"
CARD = "driftline.json"
"""File in an artifact that says what is in it."""
LOADER = "engine.serving.loading"
"""The module by which `mlflow.pyfunc` loads a version."""
LOCKS = "driftline-lock-"
"""Registered models of such a name are locks, see `engine.champions`."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""How MLflow is to behave, unless the environment says otherwise."""
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")
PAGE = 1000


def client_of(uri: str) -> Any:
    """Import MLflow, quietly, and return a client for a tracking URI."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def asked(place: Place) -> Iterator[None]:
    """Turn whatever MLflow raises into `Refused` or `RegistryGone`."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except EngineError:
        raise
    except MlflowException as error:
        if error.error_code in REFUSALS:
            raise Refused(first_line(error), error.error_code) from error
        raise RegistryGone(f"{place.shown} cannot be reached: {first_line(error)}") from error
    except Exception as error:  # of requests, urllib3, sqlalchemy, boto3, the disk: whatever
        raise RegistryGone(f"{place.shown} cannot be reached: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return what an error says, in a line.

    Examples
    --------
    >>> first_line(ValueError("no\\nplace")), first_line(OSError("x: Connection refused (y)"))
    ('no', 'nobody answers there')
    """
    text = str(error).strip() or type(error).__name__
    if "Connection refused" in text:
        return "nobody answers there"
    return text.splitlines()[0][:300]


class Registry:
    """A registry, open for reading and writing.

    Parameters
    ----------
    place
        Where it is.
    make
        Whether a folder that holds none becomes one.
    clock
        Tells the time, seconds since 1970.

    Raises
    ------
    InputError
        If the folder holds none.
    RegistryGone
        If it cannot be reached.
    """

    def __init__(
        self, place: Place, *, make: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.place, self.clock = place, clock
        if not place.there:
            if not make:
                hint = "make one with: driftline run SCENARIO --registry"
                raise InputError(f"there is no registry here; {hint} {place.shown}", place.shown)
            assert place.folder is not None
            try:
                (place.folder / ARTIFACTS).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot be written: {error.strerror}", place.shown) from None
        with self._first(), asked_importing(place):
            self.client = client_of(place.uri)
            self.client.search_experiments(max_results=1)
        self.token = uuid.uuid4().hex
        self._experiments: dict[str, str] = {}
        self._models: set[str] = set()

    @contextmanager
    def _first(self) -> Iterator[None]:
        """Let one process at a time make the tables."""
        if self.place.folder is None:
            yield
            return
        from engine.champions import file_lock

        with file_lock(self.place.folder / ".making"):
            yield

    @contextmanager
    def ask(self) -> Iterator[Any]:
        """Hand out MLflow's client; what it raises becomes an `EngineError`."""
        with asked(self.place):
            yield self.client

    # --- reading --------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all registered models, in order."""
        found: list[str] = []
        with self.ask() as client:
            token = None
            while True:
                page = client.search_registered_models(max_results=PAGE, page_token=token)
                found += [model.name for model in page if not model.name.startswith(LOCKS)]
                token = page.token
                if not token:
                    return sorted(found)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the number that each alias of a model points at.

        Raises
        ------
        InputError
            If there is no such model.
        """
        return self.state(name)[0]

    def state(self, name: str) -> tuple[dict[str, int], dict[str, str]]:
        """Return aliases of a model, and what is said about it as a whole.

        Raises
        ------
        InputError
            If there is no such model.
        """
        found = self._model(name)
        aliases = {alias: int(number) for alias, number in found.aliases.items()}
        return aliases, dict(found.tags)

    def _model(self, name: str) -> Any:
        try:
            with self.ask() as client:
                return client.get_registered_model(check_name(name))
        except Refused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = ", ".join(self.names()[:12]) or "none"
            raise InputError(f"there is no such model, only: {known}", name) from None

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a model, newest first.

        Raises
        ------
        InputError
            If there is no such model.
        """
        at: dict[int, list[str]] = {}
        for alias, number in self.aliases(name).items():
            at.setdefault(number, []).append(alias)
        return sorted(self._search(f"name='{name}'", at), key=lambda one: -one.number)

    def _search(self, rule: str, aliases: Mapping[int, Sequence[str]]) -> list[Version]:
        found: list[Version] = []
        with self.ask() as client:
            token = None
            while True:
                page = client.search_model_versions(rule, max_results=PAGE, page_token=token)
                found += [version_of(one, aliases.get(int(one.version), ())) for one in page]
                token = page.token
                if not token:
                    return found

    def version(self, name: str, which: str | int = "champion") -> Version:
        """Return the version of a number, or that an alias points at.

        Raises
        ------
        InputError
            If there is none.
        """
        aliases = self.aliases(name)
        number = which if isinstance(which, int) else aliases.get(which)
        if number is not None:
            with suppress(Refused), self.ask() as client:
                pointing = [alias for alias, at in aliases.items() if at == number]
                return version_of(client.get_model_version(name, str(number)), pointing)
        known = ", ".join(f"@{alias}" for alias in sorted(aliases)) or "none"
        what = f"has no version {which}" if isinstance(which, int) else f"has no alias @{which}"
        raise InputError(f"{what}; its aliases: {known}", name)

    def champion(self, name: str) -> Version | None:
        """Return the champion, if there is one; the cheapest question of all."""
        try:
            with self.ask() as client:
                found = client.get_model_version_by_alias(name, "champion")
        except Refused:
            return None
        return version_of(found, ("champion",))

    def run_of(self, version: Version) -> tuple[dict[str, str], dict[str, float]]:
        """Return parameters and metrics of the MLflow run that a version came of."""
        with self.ask() as client:
            data = client.get_run(version.run_id).data
        return dict(data.params), dict(data.metrics)

    def fetch(self, version: Version, into: Path) -> Path:
        """Return a folder that holds a version's artifact, downloaded to `into` if need be."""
        if self.place.folder is not None:  # wherever the folder has been moved to
            near = self.place.folder / ARTIFACTS / version.run_id / "artifacts" / "model"
            if near.is_dir():
                return near
        into.mkdir(parents=True, exist_ok=True)
        with self.ask() as client:
            return Path(client.download_artifacts(version.run_id, "model", str(into)))

    # --- writing --------------------------------------------------------------------------

    def register(self, dossier: Dossier, entry: Path | None) -> int | None:
        """Register a job and, if it led to one, its model; twice is once.

        Parameters
        ----------
        dossier
            What is to be said about it.
        entry
            The folder that `engine.training.store` keeps its result in.

        Returns
        -------
        The version's number; None if the job failed.

        Raises
        ------
        EngineError
            If its result is not there any more.
        """
        from engine.champions import locked

        with locked(self, check_name(dossier.name)):
            there = {one.tags.get(KEY): one for one in self.of_run(dossier.name, dossier.run)}
            if dossier.key in there:
                return there[dossier.key].number
            runs = self.runs_of(dossier.run)
            made = self.add(dossier, entry, runs.get(dossier.key))
            return None if made is None else made.number

    def of_run(self, name: str, run: str) -> list[Version]:
        """Return the versions of a model that came of a run, without their aliases."""
        rule = f"name='{check_name(name)}' and tags.`driftline.run` = '{run}'"
        return sorted(self._search(rule, {}), key=lambda one: -one.number)

    def runs_of(self, run: str) -> dict[str, str]:
        """Return the ids of the MLflow runs that came of a run, by the keys of their jobs."""
        experiment, found = self._experiment(run.rsplit("-", 2)[0]), dict[str, str]()
        with self.ask() as client:
            token = None
            while True:
                rule = f"tags.`driftline.run` = '{run}'"
                page = client.search_runs([experiment], rule, max_results=PAGE, page_token=token)
                found |= {one.data.tags.get(KEY, ""): one.info.run_id for one in page}
                token = page.token
                if not token:
                    return found

    def add(
        self,
        dossier: Dossier,
        entry: Path | None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Version | None:
        """Register a job that is not there, with the model's lock in hand.

        Parameters
        ----------
        dossier, entry
            As for `register`.
        run_id
            Its MLflow run, if somebody got so far.
        tags, metrics
            What else is to be said, such as the verdict.
        """
        if entry is None and not dossier.failed:
            what = f"{dossier.name}: model {dossier.model} (job {dossier.job})"
            raise EngineError(f"{what} is in no store any more")
        said = {**dossier.tags, **(tags or {}), KEY: dossier.key, "driftline.run": dossier.run}
        if run_id is None:
            run_id = self._make_run(dossier, said)
        with self.ask():
            self._log(run_id, dossier.params, {**dossier.metrics, **(metrics or {})}, {})
        if entry is not None and not dossier.failed:
            self._log_model(run_id, dossier, entry)
        over = None if dossier.ended is None else int(dossier.ended * 1000)
        with self.ask() as client:
            client.set_terminated(run_id, "FAILED" if dossier.failed else "FINISHED", over)
        return None if dossier.failed else self._make_version(run_id, dossier, said)

    def tell(self, version: Version, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Add to what is said about a version, and about the run that it came of."""
        with self.ask() as client:
            for key, text in tags.items():
                client.set_model_version_tag(version.name, str(version.number), key, text)
            self._log(version.run_id, {}, metrics, tags)

    def _make_run(self, dossier: Dossier, tags: Mapping[str, str]) -> str:
        """Make the MLflow run of a job, and return its id."""
        experiment = self._experiment(dossier.run.rsplit("-", 2)[0])
        began = None if dossier.began is None else int(dossier.began * 1000)
        title = f"{dossier.name} model {dossier.model}"
        with self.ask() as client:
            run = client.create_run(experiment, start_time=began, tags=dict(tags), run_name=title)
        return str(run.info.run_id)

    def _log(
        self,
        run_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """Write much at once."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(self.clock() * 1000)
        self.client.log_batch(
            run_id,
            [Metric(key, value, now, 0) for key, value in list(metrics.items())[:PAGE]],
            [Param(key, value) for key, value in list(params.items())[:100]],
            [RunTag(key, value) for key, value in tags.items()],
        )

    def _log_model(self, run_id: str, dossier: Dossier, entry: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="driftline-") as folder:
            draft = Path(folder) / "model"
            write_artifact(draft, dossier, entry)
            with self.ask() as client:
                client.log_artifacts(run_id, str(draft), "model")

    def _make_version(self, run_id: str, dossier: Dossier, tags: Mapping[str, str]) -> Version:
        if dossier.name not in self._models:
            try:
                with self.ask() as client:
                    about = "A stream's models, by Driftline."
                    client.create_registered_model(dossier.name, description=about)
            except Refused as error:
                if error.code != "RESOURCE_ALREADY_EXISTS":
                    raise
            self._models.add(dossier.name)
        with self.ask() as client:
            made = client.create_model_version(
                dossier.name,
                f"runs:/{run_id}/model",
                run_id,
                tags=dict(tags),
                await_creation_for=0,
            )
        return version_of(made, ())

    def _experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made if it is not there."""
        if name not in self._experiments:
            root = self.place.folder
            where = (root / ARTIFACTS).as_uri() if root is not None else self._beside()
            try:
                with self.ask() as client:
                    found = client.get_experiment_by_name(name)
                    made = found.experiment_id if found else client.create_experiment(name, where)
            except Refused as error:
                if error.code != "RESOURCE_ALREADY_EXISTS":
                    raise
                with self.ask() as client:  # another process was faster
                    made = client.get_experiment_by_name(name).experiment_id
            self._experiments[name] = str(made)
        return self._experiments[name]

    def _beside(self) -> str | None:
        """Return where the artifacts of a database file go; a server knows itself."""
        lock = self.place.lock
        return None if lock is None else (lock.absolute().parent / ARTIFACTS).as_uri()


@contextmanager
def asked_importing(place: Place) -> Iterator[None]:
    """Do as `asked` does, where MLflow may not be imported yet."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with asked(place):
        yield


def write_artifact(folder: Path, dossier: Dossier, entry: Path) -> None:
    """Write what a version consists of: the store's entry, a card, and how MLflow loads it."""
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    kept = folder / "data" / entry.parent.name / entry.name
    kept.parent.mkdir(parents=True)
    shutil.copytree(entry, kept)
    meta = json.loads((entry / "meta.json").read_text("utf-8"))
    card = {
        "job": entry.name,
        "name": dossier.name,
        "run": dossier.run,
        "stream": dossier.stream,
        "model": dossier.model,
        "schema": meta["schema"],
        "classes": meta.get("classes"),
        "events": list(dossier.events),
    }
    (folder / "data" / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
    needed = [f"driftline=={__version__}"]
    needed += [f"{name}=={installed(name)}" for name in ("catboost", "mlflow", "numpy", "pandas")]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    python = platform.python_version()
    environment = f"python: {python}\ndependencies:\n- -r requirements.txt\n"
    (folder / "python_env.yaml").write_text(environment, encoding="utf-8")
    numeric, categorical, _ = meta["schema"]
    columns: list[Any] = [ColSpec(DataType.double, name, required=False) for name in numeric]
    columns += [ColSpec(DataType.string, name, required=False) for name in categorical]
    model = Model(signature=ModelSignature(inputs=Schema(columns)))
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        data="data",
        env={"virtualenv": "python_env.yaml"},
        python_version=python,
    )
    model.save(str(folder / "MLmodel"))
