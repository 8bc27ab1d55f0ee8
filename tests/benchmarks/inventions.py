"""Made-up findings that look like real ones: jumps of the error, and policies that mend them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.findings import (
    TUNED,
    Cell,
    Findings,
    Role,
    StreamFacts,
    Timeline,
    Track,
    Truth,
)

BLOCK = 100
PERIODS = (1, 2, 5, 10, 20, 50)
POLICIES: dict[str, Role] = {
    "never": "policy",
    "every 5 blocks": "policy",
    "adwin": "policy",
    "page_hinkley": "policy",
    "cost_threshold": "policy",
    TUNED: "tuned",
    "Hoeffding tree, incremental": "control",
}
MANY: dict[str, Role] = {
    **POLICIES,
    "every 20 blocks": "policy",
    "data_drift": "policy",
    "forecast": "policy",
    "adwin, cooldown 500": "policy",
    "retrainopt": "peer",
}
Schedule = tuple[int, ...]
Grid = npt.NDArray[np.float64]


class World:
    """One stream with one seed: where it drifts, and what a model of block i errs in block j."""

    def __init__(self, stream: int, seed: int, blocks: int, drifts: int) -> None:
        self.chance = np.random.default_rng([stream, seed])
        self.blocks = blocks
        self.drifts = sorted(self.chance.choice(np.arange(6, blocks - 3), drifts, replace=False))
        self.jumps = self.chance.uniform(4, 25, drifts)
        self.noise = 12 + stream % 5 + self.chance.normal(0, 1.2, blocks)

    def errors(self, schedule: Schedule) -> Grid:
        """Return the errors of each block; a model asked for at block i knows what was before."""
        model, errors = 0, np.zeros(self.blocks)
        for block in range(self.blocks):
            model = block if block in schedule else model
            stale = sum(
                jump
                for at, jump in zip(self.drifts, self.jumps, strict=True)
                if model <= at < block or (at == block)
            )
            errors[block] = max(0.0, self.noise[block] + min(stale, 45))
        return np.round(errors)

    def optimum(self, alpha: float) -> Schedule:
        """Return a good schedule: retrain after a drift if it pays."""
        chosen: Schedule = ()
        for at in self.drifts:
            with_it = (*chosen, int(at) + 1)
            saved = self.errors(chosen).sum() - self.errors(with_it).sum()
            chosen = with_it if saved > alpha else chosen
        return chosen

    def schedule(self, policy: str, alpha: float) -> Schedule:
        """Return when a policy retrains."""
        late = {"adwin": 2, "page_hinkley": 1, "data_drift": 3, "retrainopt": 2, "forecast": 1}
        name = policy.split(",")[0]
        if policy.startswith("every"):
            return tuple(range(1, self.blocks, int(policy.split()[1])))
        if name in late:
            alarms = {int(at) + late[name] for at in self.drifts}
            false = {"page_hinkley": 5, "data_drift": 9}.get(name, 1)
            chance = np.random.default_rng([len(policy), self.blocks, int(self.drifts[0])])
            alarms |= {int(at) for at in chance.choice(np.arange(2, self.blocks), false)}
            return tuple(sorted(at for at in alarms if at < self.blocks))
        if name == "cost_threshold":
            return tuple(int(at) + 1 + (alpha > 20) for at in self.optimum(alpha / 2))
        return ()


def invent(
    streams: Sequence[str] = ("elec2", "sea", "checkout"),
    policies: dict[str, Role] = POLICIES,
    prices: Sequence[str] = ("2%", "10%", "50%", "200%"),
    seeds: int = 2,
    latencies: Sequence[str] = ("0",),
    blocks: int = 60,
    drifts: int = 4,
) -> Findings:
    """Return findings; the last stream's truth is unknown."""
    cells: list[Cell] = []
    timelines: list[Timeline] = []
    for number, stream in enumerate(streams):
        for seed in range(1, seeds + 1):
            world = World(number, seed, blocks, drifts)
            for latency in latencies:
                known = number < len(streams) - 1
                line, mine = one_world(world, stream, seed, latency, policies, prices, known)
                cells += mine
                if seed == 1 and latency == latencies[0]:
                    timelines.append(line)
    return Findings(
        name="made up",
        spec={"name": "made up", "seeds": list(range(1, seeds + 1)), "blocks": BLOCK},
        replay="driftline bench made_up.yaml --out runs/made-up",
        versions={"driftline": "0.1.0", "catboost": "1.2.10"},
        roles=policies,
        prices=tuple(prices),
        streams=tuple(
            StreamFacts(
                stream=stream, kind="generator", records=blocks * BLOCK, block=BLOCK, features=8,
                classes=2,
            )
            for stream in streams
        ),
        cells=tuple(cells),
        timelines=tuple(timelines),
        notes=("Made up for a test: nothing here was measured.",),
    )  # fmt: skip


def one_world(
    world: World,
    stream: str,
    seed: int,
    latency: str,
    policies: dict[str, Role],
    prices: Sequence[str],
    known: bool,
) -> tuple[Timeline, list[Cell]]:
    """Return what happened in one world: its timeline and its cells, ordered by policy, price."""
    memo: dict[Schedule, Grid] = {}

    def errors(schedule: Schedule) -> Grid:
        if schedule not in memo:
            memo[schedule] = world.errors(schedule)
        return memo[schedule]

    slow = int(latency) * BLOCK

    def track(schedule: Schedule) -> Track:
        asked = tuple(block * BLOCK - 1 for block in schedule)
        ready = tuple(at + 1 + slow for at in asked)
        return Track(asked, ready, tuple(float(count) / BLOCK for count in errors(schedule)))

    fixed = {n: tuple(range(1, world.blocks, n)) for n in PERIODS}
    chosen: dict[str, dict[str, Schedule]] = {policy: {} for policy in policies}
    optimum: dict[str, Schedule] = {}
    found: dict[tuple[str, str], Cell] = {}
    for price in prices:
        alpha = float(price.removesuffix("%")) * BLOCK / 100

        def cost(schedule: Schedule, alpha: float = alpha) -> float:
            return float(errors(schedule).sum()) * (1 + int(latency) / 20) + alpha * len(schedule)

        for policy in policies:
            tuned = min([(), *fixed.values()], key=cost)
            schedule = tuned if policy == TUNED else world.schedule(policy, alpha)
            chosen[policy][price] = schedule
        optimum[price] = min([world.optimum(alpha), *(c[price] for c in chosen.values())], key=cost)
        for policy, schedules in chosen.items():
            schedule = schedules[price]
            control = policies[policy] == "control"
            paid = cost(()) * 0.8 if control else cost(schedule)
            found[policy, price] = Cell(
                stream=stream, seed=seed, policy=policy, price=price, alpha=alpha,
                latency=latency, label_delay="0", errors=paid - alpha * len(schedule),
                retrains=len(schedule), cost=paid, optimum=min(cost(optimum[price]), paid),
                never=cost(()), reaction=120.0 + slow + len(policy) if schedule and known else None,
            )  # fmt: skip
    cells = [found[policy, price] for policy in policies for price in prices]
    return Timeline(
        stream=stream,
        seed=seed,
        latency=latency,
        label_delay="0",
        records=world.blocks * BLOCK,
        starts=tuple(range(0, world.blocks * BLOCK, BLOCK)),
        drifts=tuple(
            Truth(
                int(at) * BLOCK,
                150 * (place % 2),
                ("abrupt concept", "gradual covariate")[place % 2],
            )
            for place, at in enumerate(world.drifts)
        )
        if known
        else None,
        tracks={
            policy: {price: track(schedule) for price, schedule in schedules.items()}
            for policy, schedules in chosen.items()
        },
        optimum={price: track(schedule) for price, schedule in optimum.items()},
        periods={n: (float(errors(each).sum()), len(each)) for n, each in fixed.items()},
    ), cells
