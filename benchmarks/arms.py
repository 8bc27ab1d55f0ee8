"""Arms that add to a policy what stands between its wish and a new model: gate, tuning, archive."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.settings import Archive, Judge, PolicySetting, Settings, Span, Tuning

PARTS = ("archive", "tuning", "gate")
"""What can be added, in the order in which a wish to retrain meets it."""
Share = Annotated[float, Field(ge=0, le=1e6)]
Bound = Literal["exact", "relaxed", "none"]
"""What an arm's cost is held against: the optimum, which it cannot beat; a bound that lets every
decision return to any older model; or nothing, as its models are others than the table's."""


class Shares(Settings):
    """What a tuning trial and a return to an earlier model cost, as shares of a retrain."""

    trial: Share = 1.0
    reuse: Share = 0.1


class Additions(Settings):
    """What is added to a policy; as in a scenario, in records.

    `per_trial` is how long each trial of tuning takes, besides the benchmark's `latency`.
    """

    judge: Judge = "always_promote"
    tuning: Tuning | None = None
    archive: Archive | None = None
    per_trial: Span = 0

    @model_validator(mode="after")
    def _adds_something(self) -> Additions:
        if not self.parts:
            raise ValueError("give a judge, tuning or archive; without one it is the policy itself")
        if self.per_trial and self.tuning is None:
            raise ValueError("per_trial is for tuning")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of `PARTS` are added."""
        there = (self.archive is not None, self.tuning is not None, self.judge != "always_promote")
        return tuple(part for part, given in zip(PARTS, there, strict=True) if given)

    @property
    def bound(self) -> Bound:
        """What the cost can be held against: with an archive alone all models are the table's.

        Examples
        --------
        >>> Additions(archive=Archive()).bound, Additions(tuning=Tuning()).bound
        ('relaxed', 'none')
        """
        return "relaxed" if self.parts == ("archive",) else "none"


class Equipped(Settings):
    """A policy whose wishes are met by an archive, tuned jobs or a gate."""

    kind: Literal["equipped"] = "equipped"
    policy: PolicySetting
    name: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+,:=()-]*$", max_length=60)] | None
    ) = None
    retraining: Additions


def name_equipped(data: Any) -> Any:
    """Let ``{policy: P, retraining: R}`` stand for a policy that is equipped so.

    Examples
    --------
    >>> name_equipped({"policy": "adwin"})
    {'kind': 'equipped', 'policy': 'adwin'}
    """
    if isinstance(data, dict) and "policy" in data and "kind" not in data:
        return {"kind": "equipped", **data}
    return data
