"""The scenario file: one frozen schema, from which the JSON Schema for editors is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from engine.news.articles import Needed
from engine.news.features import TextFeatures
from engine.quantities import interval_micros, moment_micros
from engine.settings import Count, Engine, Settings, Share, Span

Number = int | float
Row = Annotated[int, Field(ge=0)]
STREAMS_MAX = 100_000
"""How many copies of a stream may run."""


def check_rate(rate: str) -> str:
    """Return `rate` if it is one; else raise ValueError."""
    interval_micros(rate)
    return rate


def check_moment(moment: str) -> str:
    """Return `moment` if it is one; else raise ValueError."""
    moment_micros(moment)
    return moment


# --- sources --------------------------------------------------------------------------------


class Timed(Settings):
    """Sources whose event times are made: a record each `rate` from `start` on."""

    rate: Annotated[str, AfterValidator(check_rate)] = "1/s"
    start: Annotated[str, AfterValidator(check_moment)] = "1970-01-01"


ColumnKind = Literal["numeric", "categorical"]


class FileSource(Timed):
    """A CSV, CSV.gz or Parquet table with a label column; event time from a column or made."""

    kind: Literal["file"]
    path: str
    label: str
    ignore: tuple[str, ...] = ()
    time: str | None = None
    columns: dict[str, ColumnKind] = {}
    limit: Count | None = None

    @property
    def drifts_itself(self) -> bool:
        """Whether there may be drifts without a script: real data do not say."""
        return True


class GeneratorSource(Timed):
    """One of River's synthetic streams, with its own parameters."""

    kind: Literal["generator"]
    name: str
    records: Count
    params: dict[str, bool | int | float | str | tuple[int, ...]] = {}

    @property
    def drifts_itself(self) -> bool:
        """Whether it is made to drift without a script.

        River's hyperplane turns by `mag_change` (0) of the weights of `n_drift_features` (2).
        """
        turns = bool(self.params.get("mag_change", 0) and self.params.get("n_drift_features", 2))
        return self.name.endswith("_drift") or (self.name == "hyperplane" and turns)


class SyntheticSource(Timed):
    """Records sampled from an SDV Gaussian copula, fitted on a table or loaded from a file.

    `rows` is the slice `[from, to)` of the table that it is fitted on.
    """

    kind: Literal["synthetic"]
    records: Count
    label: str
    table: str | None = None
    synthesizer: str | None = None
    rows: tuple[Row, Row] | None = None
    ignore: tuple[str, ...] = ()
    columns: dict[str, ColumnKind] = {}
    distribution: Literal["norm", "beta", "truncnorm", "uniform", "gamma", "gaussian_kde"] = "norm"

    @property
    def drifts_itself(self) -> bool:
        """Whether there may be drifts without a script: all its records are drawn alike."""
        return False

    @model_validator(mode="after")
    def _one_origin(self) -> SyntheticSource:
        if (self.table is None) == (self.synthesizer is None):
            raise ValueError("give either table (to fit on) or synthesizer (a saved one)")
        if self.rows is not None and self.rows[0] >= self.rows[1]:
            raise ValueError("rows must be [from, to) with from less than to")
        return self


class NewsSource(Settings):
    """Recorded responses of NewsAPI, or any CSV of articles, in order of publication.

    `label` and `time` name the columns of a CSV that hold topic and time of publication,
    `columns` those with `title`, `description` and `url` if they are called otherwise. `topics`
    says for files (or for the requests noted in them) which topic was asked for: pattern to topic.
    """

    kind: Literal["news"]
    path: str
    text: TextFeatures = TextFeatures()
    label: str | None = None
    time: str | None = None
    columns: dict[Needed, str] = {}
    topics: dict[str, Annotated[str, Field(pattern=r"\S")]] = {}
    limit: Count | None = None

    @property
    def drifts_itself(self) -> bool:
        """Whether there may be drifts without a script: the news are all about it."""
        return True


AnySource = FileSource | GeneratorSource | SyntheticSource | NewsSource
Source = Annotated[AnySource, Field(discriminator="kind")]


# --- the drift script -----------------------------------------------------------------------


class ScriptItem(Settings):
    """What all items share: the copies of the stream that they touch (all by default)."""

    streams: tuple[Row, ...] | None = None


class Drift(ScriptItem):
    """A drift: how it sets in.

    At source row `at` it begins, over `over` rows it grows by `ramp`. Gradual: each record is
    drawn from the new with growing probability. Incremental: the change itself grows. Recurring:
    it comes and goes every `period` rows, each change taking `over` rows. At `until` it ends, as
    abruptly or slowly as it came. Without `shape`, `over: 0` is abrupt and more is gradual.
    """

    at: Row
    over: Row = 0
    until: Row | None = None
    shape: Literal["abrupt", "gradual", "incremental", "recurring"] = Field(
        default_factory=lambda data: "gradual" if data.get("over") else "abrupt"
    )
    ramp: Literal["sigmoid", "linear"] = "sigmoid"
    period: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Drift:
        if self.until is not None and self.until <= self.at:
            raise ValueError(f"until ({self.until}) must come after at ({self.at})")
        if self.shape == "abrupt" and self.over:
            raise ValueError("an abrupt drift has over: 0; for a slow one use gradual")
        if self.shape in ("gradual", "incremental") and not self.over:
            raise ValueError(f"a drift of shape {self.shape} needs over, the rows it takes")
        if (self.shape == "recurring") != (self.period is not None):
            raise ValueError("period goes with shape: recurring, and recurring needs it")
        if self.period is not None and self.over > self.period:
            raise ValueError(f"over ({self.over}) must not exceed period ({self.period})")
        return self


class ColumnShift(Settings):
    """A changed column: value × `scale` + `offset`, or for categories a new `mix` of levels."""

    scale: Number = 1.0
    offset: Number = 0.0
    mix: dict[str, Share] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> ColumnShift:
        if self.mix is None and self.scale == 1 and self.offset == 0:
            raise ValueError("give scale or offset (numeric columns) or mix (categorical ones)")
        if self.mix is not None and (self.scale != 1 or self.offset != 0):
            raise ValueError("mix is for categorical columns, scale and offset for numeric ones")
        return self


class Correlation(Settings):
    """Two numeric columns whose rank correlation becomes `to`; their values stay the same."""

    columns: tuple[str, str]
    to: Annotated[float, Field(ge=-1, le=1)]


class CovariateDrift(Drift):
    """The inputs change, the labelling does not know."""

    kind: Literal["covariate"]
    columns: dict[str, ColumnShift] = {}
    correlation: Correlation | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> CovariateDrift:
        if not self.columns and self.correlation is None:
            raise ValueError("give columns or correlation: what changes?")
        return self


class PriorDrift(Drift):
    """The mix of labels changes: `mix` says each label's new share; others share the rest."""

    kind: Literal["prior"]
    mix: Annotated[dict[str, Share], Field(min_length=1)]

    @model_validator(mode="after")
    def _at_most_one(self) -> PriorDrift:
        if sum(self.mix.values()) > 1 + 1e-9:
            raise ValueError(f"mix adds up to {sum(self.mix.values()):g}, more than 1")
        if self.shape == "incremental":
            raise ValueError("a prior drift is abrupt, gradual or recurring: its mix is drawn")
        return self


class Region(Settings):
    """The records that a relabelling touches: `column` within bounds or among `levels`."""

    column: str
    above: Number | None = None
    below: Number | None = None
    levels: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Region:
        numeric = self.above is not None or self.below is not None
        if numeric == (self.levels is not None):
            raise ValueError("give above and/or below (numeric column), or levels (categorical)")
        return self


class ConceptDrift(Drift):
    """The labelling changes: by `relabel` (class to class), by `shift` (regression), or `to`.

    `to` names what becomes different about the source itself: other `params` of a generator,
    other `rows` or another `table` for a synthesizer, another `path` for a file. With shape
    incremental the relabelling spreads over the values of numeric column `by`, from the lowest.
    """

    kind: Literal["concept"]
    relabel: dict[str, str] | None = None
    shift: ColumnShift | None = None
    where: Region | None = None
    by: str | None = None
    to: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_change(self) -> ConceptDrift:
        if sum(change is not None for change in (self.relabel, self.shift, self.to)) != 1:
            raise ValueError("give one of relabel, shift (regression) and to: what changes?")
        if self.where is not None and self.to is not None:
            raise ValueError("where goes with relabel or shift, not with to")
        if self.shift is not None and self.shift.mix is not None:
            raise ValueError("shift takes scale and offset, not mix")
        if (self.by is not None) != (self.shape == "incremental" and self.relabel is not None):
            raise ValueError("by goes with relabel and shape: incremental, which needs it")
        if self.shape == "incremental" and self.to is not None:
            raise ValueError("to mixes two sources: abrupt, gradual or recurring")
        return self


class Fault(ScriptItem):
    """A fault of the plumbing, from source row `at` until before row `until`."""

    at: Row
    until: Row

    @model_validator(mode="after")
    def _some_rows(self) -> Fault:
        if self.until <= self.at:
            raise ValueError(f"until ({self.until}) must come after at ({self.at})")
        return self


class Missing(Fault):
    """Values of `columns` go missing, each with probability `share`."""

    kind: Literal["missing"]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    share: Share = 1.0


class Stuck(Fault):
    """`columns` keep the value that they had in row `at`."""

    kind: Literal["stuck"]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]


class Swapped(Fault):
    """Two columns of one kind arrive in each other's place."""

    kind: Literal["swapped"]
    columns: tuple[str, str]


class Duplicates(Fault):
    """Records arrive twice, each with probability `share`."""

    kind: Literal["duplicates"]
    share: Share


class OutOfOrder(Fault):
    """Records arrive up to `by` places late, each with probability `share`."""

    kind: Literal["out_of_order"]
    share: Share
    by: Annotated[int, Field(ge=1, le=1000)]


class Outage(Fault):
    """No record arrives."""

    kind: Literal["outage"]


class LateLabels(Fault):
    """Labels take `delay` longer, each with probability `share`."""

    kind: Literal["late_labels"]
    delay: Span
    share: Share = 1.0


class MissingLabels(Fault):
    """Labels never come, each with probability `share`."""

    kind: Literal["missing_labels"]
    share: Share = 1.0


AnyFault = Missing | Stuck | Swapped | Duplicates | OutOfOrder | Outage | LateLabels | MissingLabels
Item = Annotated[CovariateDrift | PriorDrift | ConceptDrift | AnyFault, Field(discriminator="kind")]


# --- the whole ------------------------------------------------------------------------------


def check_count(count: int) -> int:
    """Return `count` if so many streams may run; else raise ValueError."""
    if not 1 <= count <= STREAMS_MAX:
        raise ValueError(f"must be 1 to {STREAMS_MAX:,} streams, not {count:,}")
    return count


StreamCount = Annotated[
    int,
    AfterValidator(check_count),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": STREAMS_MAX}),
]


class Streams(Settings):
    """How many copies of the stream run; a copy's seed follows from the scenario's, or is given."""

    count: StreamCount = 1
    seeds: tuple[Row, ...] | None = None

    @model_validator(mode="after")
    def _as_many(self) -> Streams:
        if self.seeds is not None and len(self.seeds) != self.count:
            raise ValueError(f"{len(self.seeds)} seeds for {self.count} streams")
        return self


class Scenario(Engine):
    """A scenario as its file states it, all defaults filled in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seed: Row = 0
    source: Source
    script: tuple[Item, ...] = ()
    streams: StreamCount | Streams = 1

    @property
    def count(self) -> int:
        """Number of streams."""
        return self.streams if isinstance(self.streams, int) else self.streams.count

    def stream_name(self, index: int) -> str:
        """Return the name of stream `index`."""
        return f"{self.name}-{index:04d}"

    def truth_known(self, index: int) -> bool:
        """Return whether the drifts of stream `index` are known.

        They are where a script touches it, and where the source has none of its own.
        """
        touched = any(item.streams is None or index in item.streams for item in self.script)
        return touched or not self.source.drifts_itself
