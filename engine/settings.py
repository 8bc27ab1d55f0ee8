"""What a user may set about the engine: frozen, complete, with unknown keys refused.

The settings are plain data. What they mean is in the module that each class names; a test holds
the `kind`s here against the registries there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from engine.alerts.rules import AlertRule
from engine.batch import Task
from engine.forms import Count, Price, Settings, Share, Span, check_span, spell_out
from engine.quantities import duration_micros

__all__ = ["Count", "Price", "Settings", "Share", "Span", "check_span", "spell_out"]

RECENT_MAX = 2000
"""How many of the newest errors a policy can look back on."""


class Labels(Settings):
    """When labels become known, and what they are."""

    delay: Span = 0
    task: Task = "classification"
    scale: Annotated[float, Field(gt=0)] = 1.0


# --- models (engine.training) ---------------------------------------------------------------


class CatBoostModel(Settings):
    """Gradient boosting by CatBoost; `params` go to CatBoost as they are."""

    kind: Literal["catboost"] = "catboost"
    iterations: Count = 100
    depth: Annotated[int, Field(ge=1, le=16)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    early_stopping: Count | None = None
    params: dict[str, bool | int | float | str] = {}
    initial: str | None = None


class PythonModel(Settings):
    """The user's own model: ``package:function`` returns an object with `fit` and `predict`.

    Rows are predicted one at a time unless `vectorised` vouches that the answer for a row does
    not depend, to the last bit, on the rows beside it.
    """

    kind: Literal["python"]
    factory: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    params: dict[str, bool | int | float | str | None] = {}
    vectorised: bool = False
    initial: str | None = None


Model = Annotated[CatBoostModel | PythonModel, Field(discriminator="kind")]


# --- detectors (engine.detectors) -----------------------------------------------------------

Direction = Literal["up", "down", "both"]


class Detector(Settings):
    """What all detectors share.

    `direction` says which change counts: on the error only a rise does unless told otherwise.
    """

    name: str | None = None
    on: Literal["error", "features"] = "error"
    columns: tuple[str, ...] | None = None
    direction: Direction = Field(
        default_factory=lambda data: "up" if data.get("on", "error") == "error" else "both"
    )


class ErrorDetector(Settings):
    """What the detectors of a rising rate of 0/1 errors share."""

    name: str | None = None
    on: Literal["error"] = "error"


class Adwin(Detector):
    """Adaptive windowing (Bifet and Gavaldà, 2007)."""

    kind: Literal["adwin"]
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.002
    clock: Count = 32
    max_buckets: Annotated[int, Field(ge=2)] = 5
    min_window_length: Count = 5
    grace_period: Annotated[int, Field(ge=0)] = 10


class PageHinkley(Detector):
    """Page-Hinkley test (Page, 1954); features arrive standardised, hence their larger delta."""

    kind: Literal["page_hinkley"]
    min_instances: Count = 30
    delta: Annotated[float, Field(ge=0)] = Field(
        default_factory=lambda data: 0.005 if data.get("on", "error") == "error" else 0.25
    )
    threshold: Annotated[float, Field(gt=0)] = 50.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.9999


class Kswin(Detector):
    """Kolmogorov-Smirnov windowing (Raab et al., 2020)."""

    kind: Literal["kswin"]
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.005
    window_size: Annotated[int, Field(ge=2)] = 100
    stat_size: Count = 30

    @model_validator(mode="after")
    def _windows(self) -> Kswin:
        if 2 * self.stat_size >= self.window_size:
            raise ValueError("stat_size must be less than half of window_size")
        return self


class Ddm(ErrorDetector):
    """Drift detection method (Gama et al., 2004)."""

    kind: Literal["ddm"]
    warm_start: Count = 30
    warning_threshold: Annotated[float, Field(gt=0)] = 2.0
    drift_threshold: Annotated[float, Field(gt=0)] = 3.0


class Eddm(ErrorDetector):
    """Early drift detection method (Baena-García et al., 2006)."""

    kind: Literal["eddm"]
    warm_start: Count = 30
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.95
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.9

    @model_validator(mode="after")
    def _warns_before_it_alarms(self) -> Eddm:
        if self.alpha < self.beta:
            raise ValueError(f"alpha ({self.alpha:g}) must not be below beta ({self.beta:g})")
        return self


class HddmA(ErrorDetector):
    """Hoeffding's bound on moving averages (Frías-Blanco et al., 2015)."""

    kind: Literal["hddm_a"]
    drift_confidence: Annotated[float, Field(gt=0, lt=1)] = 0.001
    warning_confidence: Annotated[float, Field(gt=0, lt=1)] = 0.005


class HddmW(HddmA):
    """Hoeffding's bound on exponentially weighted averages (Frías-Blanco et al., 2015)."""

    kind: Literal["hddm_w"]  # type: ignore[assignment]
    lambda_val: Annotated[float, Field(gt=0, lt=1)] = 0.05


AnyDetector = Adwin | PageHinkley | Kswin | Ddm | Eddm | HddmA | HddmW
DetectorKind = Literal["adwin", "page_hinkley", "kswin", "ddm", "eddm", "hddm_a", "hddm_w"]
DetectorSetting = Annotated[
    Annotated[AnyDetector, Field(discriminator="kind")],
    BeforeValidator(spell_out, json_schema_input_type=AnyDetector | DetectorKind),
]


# --- policies (engine.policies) -------------------------------------------------------------


class Policy(Settings):
    """What every policy can be held back by.

    `settle` passes a wish on so many records later, when the window holds what is new;
    `cooldown` keeps quiet for that long after a request, `budget` allows so many retrains,
    `warmup` waits for that many records of service; `queue` keeps a request that comes while a
    job is pending, instead of dropping it.
    """

    settle: Annotated[int, Field(ge=0)] | None = None
    cooldown: Span | None = None
    budget: Annotated[int, Field(ge=0)] | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    queue: bool = False


class Never(Policy):
    """Keep the first model for ever."""

    kind: Literal["never"]


class Every(Policy):
    """Retrain on a schedule; without one, each training window's worth of records."""

    kind: Literal["every"]
    records: Count | None = None
    blocks: Count | None = None
    time: Annotated[str, AfterValidator(check_span)] | None = None

    @model_validator(mode="after")
    def _one_period(self) -> Every:
        given = [name for name in ("records", "blocks", "time") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of records, blocks and time, not {' and '.join(given)}")
        if self.time is not None and duration_micros(self.time) == 0:
            raise ValueError("time must be longer than nothing")
        return self


class ErrorThreshold(Policy):
    """Retrain when the error over the newest `window` labels is `rise` above its reference.

    The reference is the error over the champion's first `window` labels; with `above` given the
    error is held against that fixed value instead.
    """

    kind: Literal["error_threshold"]
    rise: Annotated[float, Field(gt=0)] = 0.07
    above: Annotated[float, Field(ge=0)] | None = None
    window: Annotated[int, Field(ge=1, le=RECENT_MAX)] = 500


class OnAlarm(Policy):
    """Retrain when the detector named `detector` raises an alarm."""

    kind: Literal["alarm"]
    detector: str
    on: Literal["error", "features"] = "error"


class OnAdwin(Policy):
    """Retrain on an ADWIN alarm on the error."""

    kind: Literal["adwin"]


class OnPageHinkley(Policy):
    """Retrain on a Page-Hinkley alarm on the error."""

    kind: Literal["page_hinkley"]


class DataDrift(Policy):
    """Retrain when at least `share` of the features alarmed within the last `within` records."""

    kind: Literal["data_drift"]
    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    within: Count = 1000


class CumulativeCost(Policy):
    """Retrain when the errors lost to staleness have cost `limit` retrains.

    What a fresh model gets is told by a champion's first `fresh` errors; without, by half a
    training window's.
    """

    kind: Literal["cumulative_cost"]
    limit: Annotated[float, Field(gt=0)] = 1.0
    fresh: Annotated[int, Field(ge=1, le=RECENT_MAX)] | None = None


class CostThreshold(Policy):
    """Retrain when staleness as it is now would cost `limit` retrains over `horizon` records.

    Staleness is the error over the newest `window` labels (without, a training window's) less
    what a fresh model gets: `fresh` as in `CumulativeCost`. Without `horizon`, it is the training
    window or as long as the champion has served, whichever is more.
    """

    kind: Literal["cost_threshold"]
    limit: Annotated[float, Field(gt=0)] = 1.0
    fresh: Annotated[int, Field(ge=1, le=RECENT_MAX)] | None = None
    window: Annotated[int, Field(ge=1, le=RECENT_MAX)] | None = None
    horizon: Count | None = None


class Forecast(Policy):
    """Retrain when the `quantile` of its forecast cost is below that of keeping the champion.

    Without `horizon`, it looks ahead a training window or as far as the champion has served,
    whichever is more.
    """

    kind: Literal["forecast"]
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    horizon: Count | None = None


class AnyOf(Policy):
    """Retrain when one of the policies wants to."""

    kind: Literal["any_of"]
    of: Annotated[tuple[PolicySetting, ...], Field(min_length=1)]


class AllOf(Policy):
    """Retrain when all of the policies wanted to within the last `within` records."""

    kind: Literal["all_of"]
    of: Annotated[tuple[PolicySetting, ...], Field(min_length=1)]
    within: Count = 500


AnyPolicy = (
    Never
    | Every
    | ErrorThreshold
    | OnAlarm
    | OnAdwin
    | OnPageHinkley
    | DataDrift
    | CumulativeCost
    | CostThreshold
    | Forecast
    | AnyOf
    | AllOf
)
PolicyName = Literal[
    "never",
    "every",
    "error_threshold",
    "adwin",
    "page_hinkley",
    "data_drift",
    "cumulative_cost",
    "cost_threshold",
    "forecast",
]
PolicySetting = Annotated[
    Annotated[AnyPolicy, Field(discriminator="kind")],
    BeforeValidator(spell_out, json_schema_input_type=AnyPolicy | PolicyName),
]


# --- retraining, prices, scoring ------------------------------------------------------------


class Latency(Settings):
    """Virtual training time that grows with the job.

    `fixed` + `per_1000_rows` × rows ÷ 1000 + `per_trial` × trials of its tuning.
    """

    fixed: Span = 0
    per_1000_rows: Span = 0
    per_trial: Span = 0


class Guards(Settings):
    """What keeps a challenger out however low its error; each is off unless it is given.

    `collapse`: it answers its most frequent class more often than that occurs, by more than this
    share of the records. `calibration`: its Brier score is above the champion's by more than
    this. `size`: its trees × their depth are more than this.
    """

    collapse: Annotated[float, Field(ge=0, le=1)] | None = None
    calibration: Annotated[float, Field(ge=0)] | None = None
    size: Count | None = None


class Gate(Settings):
    """When a challenger takes over: its error is at most the champion's less `margin`.

    With `test`, it must also be better with significance `alpha`; on fewer than `minimum` records
    nothing is decided. With `extend`, what is not decided is judged again after so many more
    labels, at most `extensions` times; without, and in the end, the champion stays.
    """

    margin: float = 0.0
    test: Literal["mcnemar"] | None = None
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    minimum: Count = 1
    extend: Count | None = None
    extensions: Annotated[int, Field(ge=1, le=20)] = 3
    guards: Guards = Guards()

    @property
    def looks(self) -> int:
        """How often it may be judged."""
        return 1 if self.extend is None else 1 + self.extensions


class Holdout(Gate):
    """Judge a challenger on the window's newest `holdout` labels, withheld from its training."""

    holdout: Count


class Shadow(Gate):
    """Judge a challenger that was silently asked along for `shadow` labelled records."""

    shadow: Count


def which_judge(given: Any) -> str:
    """Return the name of the judge that is meant, so that a mistake is told about that one."""
    if isinstance(given, Mapping):
        return "Shadow" if "shadow" in given else "Holdout"
    return type(given).__name__ if isinstance(given, Gate) else "Word"


Judge = Annotated[
    Annotated[Literal["always_promote"], Tag("Word")]
    | Annotated[Holdout, Tag("Holdout")]
    | Annotated[Shadow, Tag("Shadow")],
    Discriminator(which_judge),
]


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return `bounds` if the lower comes first; else raise ValueError."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound ({bounds[0]:g}) must not exceed the upper")
    return bounds


Depth = Annotated[int, Field(ge=1, le=16)]
Rate = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(gt=0)]
InOrder = AfterValidator(check_bounds)


class Space(Settings):
    """Where tuning looks: lowest and highest of each setting; null leaves it as configured.

    `learning_rate` and `l2_leaf_reg` are searched by their logarithm.
    """

    iterations: Annotated[tuple[Count, Count], InOrder] | None = (50, 200)
    depth: Annotated[tuple[Depth, Depth], InOrder] | None = (4, 8)
    learning_rate: Annotated[tuple[Rate, Rate], InOrder] | None = (0.02, 0.3)
    l2_leaf_reg: Annotated[tuple[Penalty, Penalty], InOrder] | None = (1.0, 30.0)


class Tuning(Settings):
    """Search better settings of the model before it is trained, on the window's own past.

    Each of `trials` is judged on `folds` stretches of the window, each trained on all before it.
    The first retrain is tuned, and each `every`-th from there on. `timeout` ends a search early,
    by the clock: live only.
    """

    trials: Annotated[int, Field(ge=2, le=1000)] = 20
    folds: Annotated[int, Field(ge=1, le=20)] = 3
    every: Count = 1
    space: Space = Space()
    timeout: Annotated[str, AfterValidator(check_span)] | None = None


class Archive(Settings):
    """Try the newest `keep` earlier champions before a new model is trained.

    The best of them on the newest `window` labels serves again if it is better than the champion
    by more than `margin` with significance `alpha`, and its error at most `slack` above that of
    the champion when it was new. It serves `latency` after it was asked for.
    """

    keep: Annotated[int, Field(ge=1, le=50)] = 3
    window: Count = 200
    margin: Annotated[float, Field(ge=0)] = 0.0
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    slack: Annotated[float, Field(ge=0)] = 0.02
    latency: Span = 0


class Retraining(Settings):
    """What a training job is made of, how long it takes, who judges it, what is tried instead."""

    first: Count = 1000
    window: Count = 3000
    latency: Span | Latency = 0
    judge: Judge = "always_promote"
    tuning: Tuning | None = None
    archive: Archive | None = None

    @model_validator(mode="after")
    def _fits_the_window(self) -> Retraining:
        if isinstance(self.judge, Holdout) and self.judge.holdout >= self.window:
            raise ValueError(
                f"judge.holdout ({self.judge.holdout}) must be smaller than window ({self.window})"
            )
        if self.archive is not None and self.archive.window > self.window:
            raise ValueError(
                f"archive.window ({self.archive.window}) must not exceed window ({self.window})"
            )
        return self


class Prices(Settings):
    """What things cost, in one currency of the user's choice."""

    error: Price = 1.0
    retrain: Price = 50.0
    trial: Price = Field(default_factory=lambda data: data.get("retrain", 0.0))
    reuse: Price = Field(default_factory=lambda data: data.get("retrain", 0.0) / 10)


class Scoring(Settings):
    """How late an alarm may come, in records, and still have found a drift."""

    window: Count = 1000


class Engine(Settings):
    """All that the heart needs to know about a run."""

    labels: Labels = Labels()
    model: Annotated[Model, BeforeValidator(spell_out)] = CatBoostModel()
    detectors: tuple[DetectorSetting, ...] = (Adwin(kind="adwin"),)
    policy: PolicySetting = OnAdwin(kind="adwin")
    decide_every: Count = 1
    block: Count = 100
    retraining: Retraining = Retraining()
    prices: Prices = Prices()
    scoring: Scoring = Scoring()
    alerts: tuple[AlertRule, ...] = ()

    @model_validator(mode="after")
    def _detectors_differ(self) -> Self:
        names = [(one.on, one.name or one.kind) for one in self.detectors]
        for on, name in names:
            if names.count((on, name)) > 1:
                raise ValueError(f"two detectors on {on} are called {name!r}: give each a name")
        return self
