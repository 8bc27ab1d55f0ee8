"""The benchmark file: one frozen schema of streams, policies, prices and delays."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from benchmarks.arms import Equipped, Shares, name_equipped
from benchmarks.findings import TUNED
from benchmarks.incremental import Incremental
from benchmarks.peers import RetrainOptBase, RetrainOptLearned
from engine.batch import Task
from engine.quantities import duration_micros
from engine.settings import (
    AnyPolicy,
    CatBoostModel,
    Count,
    DetectorSetting,
    Every,
    Model,
    PolicyName,
    Settings,
    spell_out,
)
from engine.sources.generator import GENERATORS
from scenarios.spec import (
    ConceptDrift,
    FileSource,
    GeneratorSource,
    Item,
    Row,
    SyntheticSource,
)

GENERATED = 20_000
"""How many records a generated stream has unless told otherwise."""
CONCEPTS: dict[str, tuple[str, int]] = {
    "agrawal": ("classification_function", 10),
    "mixed": ("classification_function", 2),
    "sea": ("variant", 4),
    "sine": ("classification_function", 4),
    "stagger": ("classification_function", 3),
    "random_rbf": ("seed_model", 10),
    "random_tree": ("seed_tree", 10),
}
"""For each generator that can take turns with itself, the parameter and how many values it has."""


def check_no_twins(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is given if nothing stands there twice; else raise ValueError."""
    for one in given:
        if given.count(one) > 1:
            raise ValueError(f"{one} stands there twice")
    return given


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seeds = Annotated[tuple[Row, ...], Field(min_length=1), AfterValidator(check_no_twins)]


# --- streams --------------------------------------------------------------------------------


class Entry(Settings):
    """What all streams of a benchmark share.

    `id` is the stream's name in the report; `seeds` are its own instead of the benchmark's;
    `script` adds drifts and faults, as in a scenario.
    """

    id: Name | None = None
    seeds: Seeds | None = None
    script: tuple[Item, ...] = ()
    task: Task = "classification"
    scale: Annotated[float, Field(gt=0)] = 1.0


class FileEntry(FileSource, Entry):
    """A table of the reader's own, or one that ships."""


class GeneratorEntry(GeneratorSource, Entry):
    """A stream of River's; `drifts` lets its concept change so many times, at equal distances."""

    records: Count = GENERATED
    drifts: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _can_change(self) -> GeneratorEntry:
        if self.drifts and self.name in GENERATORS and self.name not in CONCEPTS:
            able = ", ".join(sorted(CONCEPTS))
            raise ValueError(f"drifts is for {able}; give {self.name} a script instead")
        key = CONCEPTS[self.name][0] if self.drifts and self.name in CONCEPTS else ""
        if key and type(self.params.get(key, 0)) is not int:
            raise ValueError(f"drifts count on from params.{key}, which must be a whole number")
        if self.drifts >= self.records:
            raise ValueError(f"{self.drifts} drifts do not fit into {self.records} records")
        return self

    @property
    def changes(self) -> tuple[ConceptDrift, ...]:
        """The script that `drifts` stands for: from concept to concept, round and round."""
        if not self.drifts or self.name not in CONCEPTS:
            return ()
        key, count = CONCEPTS[self.name]
        begin = self.params.get(key, 0)
        assert isinstance(begin, int)
        at = [round(self.records * (n + 1) / (self.drifts + 1)) for n in range(self.drifts)]
        ends: list[int | None] = [*at[1:], None]
        return tuple(
            ConceptDrift(kind="concept", at=start, until=end, to={key: (begin + n + 1) % count})
            for n, (start, end) in enumerate(zip(at, ends, strict=True))
            if (n + 1) % count
        )


class SyntheticEntry(SyntheticSource, Entry):
    """Records drawn by SDV."""

    records: Count = GENERATED


class ScenarioEntry(Settings):
    """A scenario file: its source, script, labels and model; policy and retraining are ours."""

    kind: Literal["scenario_file"] = "scenario_file"
    scenario: str
    id: Name | None = None
    seeds: Seeds | None = None


def name_kind(data: Any) -> Any:
    """Let ``{scenario: FILE}`` stand for a stream of that kind."""
    if isinstance(data, dict) and "scenario" in data and "kind" not in data:
        return {"kind": "scenario_file", **data}
    return data


AnyEntry = FileEntry | GeneratorEntry | SyntheticEntry | ScenarioEntry
StreamEntry = Annotated[
    Annotated[AnyEntry, Field(discriminator="kind")],
    BeforeValidator(name_kind, json_schema_input_type=AnyEntry),
]


# --- prices and delays ----------------------------------------------------------------------


def check_alpha(alpha: Any) -> float | str:
    """Return a price ratio in errors, or as a share of a block; else raise ValueError."""
    hint = "give errors per retrain, such as 50, or a share of a block's records, such as 10%"
    text = str(alpha).strip()
    share = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise ValueError(f"{hint}, not {alpha!r}") from None
    if isinstance(alpha, bool) or not 0 <= value < 1e12:
        raise ValueError(f"{hint}, not {alpha!r}")
    return f"{value:g}%" if share else value


def check_lag(lag: Any) -> int | float | str:
    """Return a number of blocks or a duration; else raise ValueError."""
    if isinstance(lag, str):
        duration_micros(lag)
        return lag
    if isinstance(lag, bool) or not isinstance(lag, int | float) or not 0 <= lag <= 10_000:
        raise ValueError(f"give a number of blocks, such as 1, or a duration, such as 24h: {lag!r}")
    return lag


def in_a_list(given: Any) -> Any:
    """Let one value stand for a list of one."""
    return given if isinstance(given, list | tuple) else (given,)


_LAG_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
Alpha = Annotated[Any, AfterValidator(check_alpha), WithJsonSchema(_LAG_SCHEMA)]
Lag = Annotated[Any, AfterValidator(check_lag), WithJsonSchema(_LAG_SCHEMA)]
Alphas = Annotated[
    tuple[Alpha, ...],
    Field(min_length=1),
    AfterValidator(check_no_twins),
    BeforeValidator(in_a_list),
]
Lags = Annotated[
    tuple[Lag, ...],
    Field(min_length=1),
    AfterValidator(check_no_twins),
    BeforeValidator(in_a_list),
]


# --- policies -------------------------------------------------------------------------------

AnyArm = AnyPolicy | Incremental | RetrainOptBase | RetrainOptLearned | Equipped
ArmName = PolicyName | Literal["incremental", "retrainopt_base", "retrainopt_learned"]
ArmSetting = Annotated[
    Annotated[AnyArm, Field(discriminator="kind")],
    BeforeValidator(spell_out, json_schema_input_type=AnyArm | ArmName),
    BeforeValidator(name_equipped, json_schema_input_type=AnyArm | ArmName),
]


def label_of(arm: AnyArm) -> str:
    """Return the name of a policy in reports: its kind, and what is set about it.

    Examples
    --------
    >>> from engine.settings import Every, OnAdwin
    >>> label_of(OnAdwin(kind="adwin")), label_of(Every(kind="every", blocks=5, budget=3))
    ('adwin', 'every 5 blocks budget=3')
    """
    if isinstance(arm, Equipped):
        return arm.name or " + ".join([label_of(arm.policy), *arm.retraining.parts])
    said = _said(arm)
    if isinstance(arm, Every) and arm.blocks is not None:
        said = [f"{arm.blocks} block{'s' * (arm.blocks > 1)}", *said]
    return " ".join([arm.kind, *said])


def _said(settings: Settings) -> list[str]:
    given = [(name, getattr(settings, name)) for name in type(settings).model_fields]
    default = {name: field.default for name, field in type(settings).model_fields.items()}
    said = []
    for name, value in sorted(given):
        if name == "kind" or value == default[name]:
            continue
        if name == "blocks" and isinstance(settings, Every):
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], Settings):
            value = "+".join(label_of(one).replace(" ", ",") for one in value)
        said.append(f"{name}={value}")
    return said


def _named(given: tuple[AnyArm, ...], labels: list[str], label: str) -> str:
    """Return what can be done about two policies of one label, where they can have names."""
    twins = (one for one, mine in zip(given, labels, strict=True) if mine == label)
    return "; give them names" if any(isinstance(one, Equipped) for one in twins) else ""


# --- the whole ------------------------------------------------------------------------------


class Bench(Settings):
    """A benchmark as its file states it, all defaults filled in.

    `blocks` cuts each stream in so many; policies decide at the end of each. `window` is the
    training window, in blocks, and `windows` those that hindsight may choose from. `latency` and
    `label_delay` are in blocks, or durations; without `label_delay` a scenario keeps its own.
    `prices` says what trials of tuning and returns to earlier models cost, as shares of a retrain.
    """

    name: Name
    seeds: Seeds = (1,)
    streams: Annotated[tuple[StreamEntry, ...], Field(min_length=1)]
    blocks: Annotated[int, Field(ge=3, le=10_000)] = 100
    window: Count = 6
    windows: tuple[Count, ...] = ()
    alphas: Alphas = ("2%", "5%", "10%", "25%", "50%", "100%", "200%")
    latency: Lags = (0,)
    label_delay: Lags | None = None
    model: Annotated[Model, BeforeValidator(spell_out)] = CatBoostModel()
    detectors: tuple[DetectorSetting, ...] = ()
    prices: Shares = Shares()
    policies: Annotated[tuple[ArmSetting, ...], Field(min_length=1)]

    @field_validator("policies")
    @classmethod
    def _policies_differ(cls, given: tuple[AnyArm, ...]) -> tuple[AnyArm, ...]:
        labels = [label_of(one) for one in given]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"{label} stands there twice{_named(given, labels, label)}")
            if label == TUNED:
                raise ValueError(f"{label} is the name of the best fixed period; give another")
        return given

    @model_validator(mode="after")
    def _room(self) -> Bench:
        for name, size in (("window", self.window), *(("windows", one) for one in self.windows)):
            if size > self.blocks - 2:
                raise ValueError(
                    f"{name} ({size} blocks) leaves too few of {self.blocks} blocks to decide in"
                )
        if self.model.initial is not None:
            raise ValueError("model.initial is for run: a benchmark begins with a first fit")
        return self
