"""What a user may set about alerts: when to raise one, and how people are told.

What the rules mean is in `engine.alerts.rounds`, how alerts are delivered in
`engine.alerts.outlets`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_serializer

from engine.forms import Count, Duration, Settings, Span
from engine.quantities import duration_micros

Level = Literal["info", "warning", "critical"]


TIMEOUT_MAX = "1h"
"""No delivery may take longer."""


def check_wait(text: str) -> str:
    """Return a duration if it is longer than nothing; else raise ValueError."""
    if duration_micros(text) == 0:
        raise ValueError("must be longer than nothing, such as 6h")
    return text


def check_timeout(text: str) -> str:
    """Return a duration if a delivery may take so long; else raise ValueError."""
    if not 0 < duration_micros(text) <= duration_micros(TIMEOUT_MAX):
        raise ValueError(f"must be longer than nothing and at most {TIMEOUT_MAX}")
    return text


class Rule(Settings):
    """What all rules share.

    `name` is what the alert is called (without, what `when` says), `level` how grave it is, and
    `every` how much event time must pass before the same alert is told again.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    every: Duration = "1h"
    level: Level = "warning"


class NoData(Rule):
    """No new article came for this long (live)."""

    when: Literal["no_data"]
    longest: Annotated[Duration, AfterValidator(check_wait), Field(alias="for")] = "6h"

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in ("name", "every", "level", "when")}
        return {**given, "for": self.longest}


class Quota(Rule):
    """More than this share of the requests that the plan allows is spent (live)."""

    when: Literal["quota"]
    above: Annotated[float, Field(gt=0, lt=1)] = 0.9


class ErrorAbove(Rule):
    """The mean of the champion's newest errors is above `limit`."""

    when: Literal["error_above"]
    limit: Annotated[float, Field(gt=0)]


class RetrainFailed(Rule):
    """A training job failed."""

    when: Literal["retrain_failed"]


class Rejected(Rule):
    """So many challengers in a row were rejected."""

    when: Literal["rejected"]
    times: Count = 2


class OnAlarm(Rule):
    """A detector raised an alarm; with `detector` and `on` only that one."""

    when: Literal["alarm"]
    detector: str | None = None
    on: Literal["error", "features"] | None = None


class OnAnomaly(Rule):
    """Something odd happened; with `what` only these kinds of oddity."""

    when: Literal["anomaly"]
    what: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


class ModelAge(Rule):
    """The champion has served for longer than this, in records or event time."""

    when: Literal["model_age"]
    above: Span = "7d"


class StreamFailed(Rule):
    """A stream ended before its time."""

    when: Literal["stream_failed"]
    level: Level = "critical"


class RolledBack(Rule):
    """Someone put an older model back."""

    when: Literal["rollback"]


AnyRule = (
    NoData
    | Quota
    | ErrorAbove
    | RetrainFailed
    | Rejected
    | OnAlarm
    | OnAnomaly
    | ModelAge
    | StreamFailed
    | RolledBack
)
RuleName = Literal[
    "no_data",
    "quota",
    "retrain_failed",
    "rejected",
    "alarm",
    "anomaly",
    "model_age",
    "stream_failed",
    "rollback",
]
"""The rules that need nothing more than their name."""


def spell_out_rule(short: Any) -> Any:
    """Let a bare name stand for the rule with all defaults."""
    return {"when": short} if isinstance(short, str) else short


AlertRule = Annotated[
    Annotated[AnyRule, Field(discriminator="when")],
    BeforeValidator(spell_out_rule, json_schema_input_type=AnyRule | RuleName),
]
LIVE_ONLY: tuple[str, ...] = ("no_data", "quota")
"""Rules about what only live mode knows."""


def name_of(rule: AnyRule) -> str:
    """Return what a rule's alerts are called.

    Examples
    --------
    >>> name_of(Quota(when="quota")), name_of(Quota(when="quota", name="nearly spent"))
    ('quota', 'nearly spent')
    """
    return rule.name or rule.when


def names_of_rules() -> tuple[str, ...]:
    """Return what `when` can say.

    Examples
    --------
    >>> names_of_rules()[:3]
    ('no_data', 'quota', 'error_above')
    """
    kinds = [one.model_fields["when"].annotation for one in get_args(AnyRule)]
    return tuple(word for kind in kinds for word in get_args(kind))


# --- how people are told --------------------------------------------------------------------


class LogOutlet(Settings):
    """Alerts as lines of a file; at `max_bytes` a new one is begun and `backups` are kept."""

    path: Annotated[str, Field(pattern=r"^[^\x00]+$")] = "logs/alerts.log"
    max_bytes: Annotated[int, Field(ge=1000)] = 1_000_000
    backups: Annotated[int, Field(ge=1, le=1000)] = 5


class Remote(Settings):
    """What outlets over the network share.

    A delivery that fails is tried again, `attempts` times in all, and waits ever longer in
    between; one that takes longer than `timeout` has failed.
    """

    timeout: Annotated[Duration, AfterValidator(check_timeout)] = "10s"
    attempts: Annotated[int, Field(ge=1, le=20)] = 5


class WebhookOutlet(Remote):
    """Alerts as JSON to an address, which the environment variable `url_env` holds."""

    url_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "ALERT_WEBHOOK_URL"


class SnsOutlet(Remote):
    """Alerts to a topic of Amazon SNS."""

    topic_arn: Annotated[str, Field(pattern=r"^arn:[\w-]+:sns:[\w-]+:\d+:[\w-]+(\.fifo)?$")]
    region: str | None = None


class Notify(Settings):
    """How people are told of alerts; nobody is unless an outlet is named."""

    log: LogOutlet | None = None
    webhook: WebhookOutlet | None = None
    sns: SnsOutlet | None = None
