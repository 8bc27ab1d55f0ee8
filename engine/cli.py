"""The command line: parse, load, call, print. The only place where the house's parts are joined.

Heavy imports stay inside the commands, so that `driftline --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine import __version__
from engine.deploying import models, serve
from engine.doctoring import doctor
from engine.errors import EngineError, InputError
from engine.signals import Stop
from engine.syncing import sync
from engine.terminal import FILE, Commands, cache_folder, console, one_line, reported

if TYPE_CHECKING:
    from engine.running import Result
    from scenarios.loading import Loaded

PORT = click.IntRange(0, 65535)
FLUSH_SECONDS = 20.0
"""How long `live` may take to bring its run into a lasting form when it is stopped."""


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: driftline run scenarios/elec2.yaml",
)
@click.version_option(__version__, prog_name="driftline")
def main() -> None:
    """Driftline tells when to retrain, and what it costs to be wrong.

    It is a wind tunnel for retraining policies: script a drift, replay it exactly, and see
    what each policy would have cost.
    """


@main.command(epilog="Example: driftline run scenarios/elec2.yaml --policy page_hinkley --seed 2")
@click.argument("scenario", type=FILE)
@click.option("--out", type=FILE, help="Run directory.  [default: runs/<name>-<seed>]")
@click.option("--seed", metavar="N", help="Another seed than the scenario's.")
@click.option("--policy", help="Another policy, as YAML: adwin, or '{kind: every, records: 500}'.")
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Another value, as YAML.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Threads of each process.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Processes for the streams.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Records at a time.")
@click.option("--resume", is_flag=True, help="Complete a run that was interrupted.")
@click.option("--verify", "check", is_flag=True, help="Run twice, cut differently, and compare.")
@click.option("--registry", metavar="R", help="Register all models: a folder, or MLflow's URI.")
@click.option("--metrics-port", type=PORT, metavar="N", help="Serve figures for Prometheus there.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Where to, with that.")
@reported
def run(
    scenario: Path,
    out: Path | None,
    seed: str | None,
    policy: str | None,
    sets: tuple[str, ...],
    workers: int,
    processes: int,
    batch_size: int | None,
    resume: bool,
    check: bool,
    registry: str | None,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Run a drift scenario file; ends with a verdict table.

    Outcomes depend on the scenario and its seed alone: not on workers, batches or restarts.
    """
    with Stop() as stop:
        from engine.metrics import opened
        from engine.runlog import tidy
        from engine.running import check_out, check_same, execute, finished, versions
        from engine.verifying import verify
        from engine.working import Plan, batch_rows
        from scenarios.loading import load, parse_set, prepare

        given = [("--seed", "seed", seed), ("--policy", "policy", policy)]
        whole = [(option, at, value) for option, at, value in given if value is not None]
        loaded = load(scenario, [*map(parse_set, sets), *whole])
        out = out or Path("runs") / f"{loaded.scenario.name}-{loaded.scenario.seed}"
        check_out(out, resume)
        streams = prepare(loaded, cache_folder())
        about = about_run(loaded, streams[0].facts, versions())
        check_same(out, about)
        tell_notes(streams[0].notes)
        if finished(out):
            tidy(out)
            click.echo(f"{out}: finished already", err=True)
            return
        click.echo(f"seed {about['seed']}, replay with: {about['replay']}", err=True)
        plan = Plan(
            about=about,
            engine=loaded.scenario,
            feeds=streams,
            streams=len(streams),
            truth_known=[loaded.scenario.truth_known(stream.index) for stream in streams],
            out=out,
            base=loaded.base,
            cache=cache_folder(),
            resume=resume,
            workers=workers,
            processes=processes,
            batch_size=batch_size or batch_rows(streams[0].schema),
            registry=registry,
            metered=metrics_port is not None,
        )
        try:
            with opened(metrics_host, metrics_port, tell) as metrics:
                result = execute(plan, stop, metrics)
        except InputError:
            raise
        except EngineError:
            click.echo(f"replay with: {about['replay']}", err=True)
            raise
        show_run(about, dict(result.summary))
        if check:
            click.echo(f"\n{verify(plan, stop)}")
        closer = f"driftline show {shlex.quote(str(out))}"
        click.echo(f"\n{out}: {result.seconds:.1f} s. Look closer with: {closer}")
        if result.failures:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(result.failures.items()))
            raise EngineError(f"{len(result.failures)} of {len(streams)} streams failed: {told}")


def about_run(loaded: Loaded, facts: Any, versions: dict[str, str]) -> dict[str, Any]:
    """Return the content of `run.json`: what ran, and nothing that cannot change outcomes."""
    scenario, document = loaded.scenario, loaded.document
    words = ["driftline", "run", str(document.path)]
    for location, option in reversed(document.overridden):
        flag, _, value = option.partition(" ")
        words += [flag, value] if location else []
    return {
        "name": scenario.name,
        "seed": scenario.seed,
        "replay": shlex.join(words),
        "scenario": scenario.model_dump(mode="json"),
        "source": dict(facts),
        "streams": [scenario.stream_name(index) for index in range(scenario.count)],
        "versions": versions,
    }


def tell_notes(notes: Sequence[str]) -> None:
    """Print what is odd about a source's data."""
    for note in notes:
        click.echo(one_line(InputError(note, "note")), err=True)


def show_run(about: dict[str, Any], summary: dict[str, Any]) -> None:
    """Print a run's verdict."""
    from engine.printing import print_run

    print_run(about, summary, console())


@main.command(epilog="Example: driftline init sales.csv --label churned --out sales.yaml")
@click.argument("data", type=FILE)
@click.option("--label", required=True, help="Name of the label column.")
@click.option("--out", type=FILE, help="Scenario file to write.  [default: <data>.yaml]")
@reported
def init(data: Path, label: str, out: Path | None) -> None:
    """Write a runnable scenario for a table of your own (CSV, CSV.gz or Parquet)."""
    from scenarios.starting import first_scenario

    out = out or Path(f"{data.name.split('.')[0]}.yaml")
    if out.exists():
        raise InputError("exists already; name another file with --out", str(out))
    text = first_scenario(data, label, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    click.echo(f"wrote {out}. Run it with: driftline run {shlex.quote(str(out))}")


@main.command(epilog="Example: driftline check scenarios/*.yaml")
@click.argument("scenarios", type=FILE, nargs=-1, required=True)
@reported
def check(scenarios: tuple[Path, ...]) -> None:
    """Validate scenario files without running them."""
    from scenarios.loading import load, prepare

    wrong = []
    for path in scenarios:
        try:
            streams = prepare(load(path), cache_folder())
        except InputError as error:
            wrong.append(path)
            click.echo(one_line(error), err=True)
        else:
            rows = streams[0].rows
            many = "1 stream" if len(streams) == 1 else f"{len(streams)} streams"
            click.echo(f"{path}: good, {many} of {rows:,} rows")
            tell_notes(streams[0].notes)
    if wrong:
        sys.exit(2)


@main.command(epilog="Example: driftline show runs/elec2-7 --json | jq .total.cost")
@click.argument("run_dir", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json.")
@reported
def show(run_dir: Path, as_json: bool) -> None:
    """Show a finished run in the terminal."""
    import json

    from engine.runlog import Run

    found = Run(run_dir)
    if as_json:
        click.echo(json.dumps(found.summary, indent=2))
        return
    from engine.printing import print_happenings

    events = list(found.events())
    show_run(found.about, found.summary)
    print_happenings(events, console())


@main.command(epilog="Example: driftline hindsight benchmarks/examples/ice_cream.json --latency 1")
@click.argument("table", type=FILE)
@click.option(
    "--latency",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Steps from asking for a model to its service; meanwhile no other is asked for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of {id, total, schedule}.")
@reported
def hindsight(table: Path, latency: int, as_json: bool) -> None:
    """Find the cheapest schedule of retrains over a table of losses.

    TABLE is JSON (or JSON.gz): one case, or a file of cases; docs/hindsight.md has the format.
    """
    import json

    from benchmarks.planning import listed, plan, print_plans
    from benchmarks.tables import read

    plans = [plan(case) for case in read(table, latency)]
    if as_json:
        click.echo(json.dumps(listed(plans), indent=2))
    else:
        print_plans(plans, console())


@main.command(epilog="Example: NEWSAPI_KEY=... driftline live config/live.yaml --once")
@click.argument("config", type=FILE, required=False)
@click.option("--out", type=FILE, help="Run directory.  [default: runs/<name>]")
@click.option("--polls", type=click.IntRange(1), metavar="N", help="Stop after N rounds.")
@click.option("--once", is_flag=True, help="Ask each topic once and stop: for cron.")
@click.option("--demo", is_flag=True, help="Stream from a bundled NewsAPI; needs no key.")
@click.option("--metrics-port", type=PORT, metavar="N", help="Serve figures for Prometheus there.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Where to, with that.")
@reported
def live(
    config: Path | None,
    out: Path | None,
    polls: int | None,
    once: bool,
    demo: bool,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Stream live against NewsAPI, with the policies and the run directory of simulations.

    Goes on where it was when it is started again. Ctrl-C flushes and ends it.
    """
    if once and polls is not None:
        raise InputError("give one of --once and --polls", f"--polls {polls}")
    if (config is None) != demo:
        raise InputError("give a configuration file, or --demo for one that is bundled", "CONFIG")
    with Stop(code=0, grace=FLUSH_SECONDS) as stop, ExitStack() as stack:
        from engine.metrics import opened
        from engine.news.live import load
        from engine.news.living import KEY, LivePlan, about_live, check_place, stream
        from engine.secrets import secret

        if demo:
            from scenarios.demonstration import demonstration

            show = stack.enter_context(demonstration(out))
            loaded, key, out = show.loaded, show.key, show.out
            polls = polls or show.rounds
        else:
            assert config is not None
            loaded = load(config)
            found = secret(KEY, config.parent)
            if found is None:
                raise InputError(f"set {KEY} to your NewsAPI key, or see what --demo does", KEY)
            key, out = found, out or Path("runs") / loaded.live.name
        words = ["driftline", "live", "--demo" if demo else str(config), "--out", str(out)]
        about = about_live(loaded, shlex.join(words))
        check_place(out, about)
        stop.hint = f"go on with: {about['replay']}"
        rounds = 1 if once else polls
        report = partial(report_live, about, out)
        metrics = stack.enter_context(opened(metrics_host, metrics_port, tell))
        stream(LivePlan(loaded, about, out, key, rounds, tell, report, metrics), stop)


def tell(line: str) -> None:
    """Print what happens, as it happens."""
    click.echo(one_line(InputError(line)), err=True)


def report_live(
    about: Mapping[str, Any], out: Path, result: Result, totals: Mapping[str, Any]
) -> None:
    """Print what a live run has come to, as it stops."""
    from engine.printing import ingested

    click.echo(ingested(totals), err=True)
    if result.summary["total"]["scored"]:
        show_run(dict(about), dict(result.summary))
        place = shlex.quote(str(out))
        click.echo(f"\nLook closer with: driftline show {place}, or driftline replay {place}")


@main.command(epilog="Example: driftline bench benchmarks/quick.yaml")
@click.argument("spec", type=FILE)
@click.option("--out", type=FILE, help="Folder of the report.  [default: runs/bench-<name>]")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes.  [default: cores]")
@click.option("--resume", is_flag=True, help="Complete a benchmark that was interrupted.")
@reported
def bench(spec: Path, out: Path | None, jobs: int | None, resume: bool) -> None:
    """Compare retrain policies with the best that hindsight could do; writes a report.

    The folder holds report.html, report.md, results.csv and summary.json. What they say depends
    on the spec alone.
    """
    with Stop() as stop:
        from benchmarks.loading import load_grid
        from benchmarks.running import about_bench, check_place, execute, write
        from engine.children import cores

        grid = load_grid(spec, cache_folder())
        out = out or Path("runs") / f"bench-{grid.bench.name}"
        if check_place(out, about_bench(grid), resume):
            click.echo(f"{out}: finished already", err=True)
            return
        tell_notes(grid.notes)
        findings, seconds = execute(grid, out, cache_folder(), jobs or cores(), stop)
        summary = write(out, findings)
        click.echo(summary["verdict"])
        took = ", ".join(f"{what} {spent:.1f} s" for what, spent in seconds.items())
        click.echo(f"\n{out}: {took}. Open {shlex.quote(str(out / 'report.html'))}")


@main.command(epilog="Example: driftline replay runs")
@click.argument("run_dirs", type=FILE, nargs=-1, required=True, metavar="RUN_DIR...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8050, show_default=True)
@click.option(
    "--token",
    metavar="T",
    envvar="REPLAY_TOKEN",
    help="What readers have to show: ?token=T once (kept in a cookie), or Authorization: Bearer T."
    " Needed if --host lets other machines in.",
)
@reported
def replay(run_dirs: tuple[Path, ...], host: str, port: int, token: str | None) -> None:
    """Look at runs in the browser: finished ones, growing ones, benchmarks.

    RUN_DIR is a run, a benchmark, or a folder that holds some. Ctrl-C ends it.
    """
    from dashboards.serving import address, bound, check_reach, end_on_signals, serve

    end_on_signals()
    for path in run_dirs:
        if not path.is_dir():
            problem = "this is a file, not a run directory" if path.exists() else "is not there"
            raise InputError(problem, str(path))
    check_reach(host, token)
    ear = bound(host, port)
    from dashboards.app import make

    server = make(run_dirs, host, token).server
    told = f"{address(ear, host, token)} shows {', '.join(map(str, run_dirs))}; Ctrl-C ends it"
    serve(server, ear, lambda: click.echo(told))


main.add_command(models)
main.add_command(serve)
main.add_command(sync)
main.add_command(doctor)
