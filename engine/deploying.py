"""The commands of the registry and of its server; `engine.cli` adds them to the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from engine.terminal import FILE, Commands, cache_folder, console, reported

REGISTRY = click.option(
    "--registry",
    metavar="R",
    help="A folder, or an MLflow tracking URI.  [default: $DRIFTLINE_REGISTRY, else registry/"
    " or data/registry/]",
)


@click.group(cls=Commands, epilog="Example: driftline models list --registry runs/registry")
def models() -> None:
    """Look at registered models, and say which version is champion.

    A version is written NAME (its champion), NAME@ALIAS or NAME/NUMBER.
    """


@models.command("list", epilog="Example: driftline models list --json | jq '.[].aliases'")
@REGISTRY
@click.option("--json", "as_json", is_flag=True, help="Print a list of {name, aliases, versions}.")
@reported
def list_models(registry: str | None, as_json: bool) -> None:
    """List all models: who is champion, and how many versions there are."""
    import json

    from engine.modelcards import model_entry, place, print_models
    from engine.registry import Registry

    found = Registry(place(registry))
    entries = [model_entry(found, name) for name in found.names()]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
    else:
        print_models(entries, console())


@models.command("show", epilog="Example: driftline models show elec2-0000@previous")
@click.argument("version", metavar="NAME[@ALIAS|/NUMBER]")
@REGISTRY
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@reported
def show_model(version: str, registry: str | None, as_json: bool) -> None:
    """Show a model's versions, or one of them with its settings and figures."""
    import json

    from engine.modelcards import (
        detail,
        model_entry,
        pick,
        place,
        print_detail,
        print_model,
    )
    from engine.registry import Registry

    (name, which), found = pick(version), Registry(place(registry))
    whole = name == version
    entry = model_entry(found, name) if whole else detail(found, found.version(name, which))
    if as_json:
        click.echo(json.dumps(entry, indent=2))
    else:
        (print_model if whole else print_detail)(entry, console())


@models.command("compare", epilog="Example: driftline models compare elec2-0000 elec2-0000/3")
@click.argument("a", metavar="NAME[@ALIAS|/NUMBER]")
@click.argument("b", metavar="NAME[@ALIAS|/NUMBER]")
@REGISTRY
@reported
def compare_models(a: str, b: str, registry: str | None) -> None:
    """Show where two versions differ."""
    from engine.modelcards import detail, pick, place, print_comparison
    from engine.registry import Registry

    picked, found = (pick(a), pick(b)), Registry(place(registry))
    one, other = (detail(found, found.version(*each)) for each in picked)
    print_comparison(one, other, console())


@models.command("promote", epilog="Example: driftline models promote elec2-0000 3")
@click.argument("name")
@click.argument("version", metavar="NUMBER|@ALIAS")
@REGISTRY
@reported
def promote_model(name: str, version: str, registry: str | None) -> None:
    """Make a version champion; servers follow within their polling interval."""
    from engine.champions import promote
    from engine.modelcards import moved, number_of, pick, place
    from engine.registry import Registry

    which = pick(f"{name}{version}")[1] if version.startswith("@") else number_of(version)
    found = Registry(place(registry))
    move = promote(found, name, found.version(name, which).number)
    same = "" if move.was != move.to else " (it was already)"
    click.echo(f"{name}: {moved(move)}{same}")


@models.command("rollback", epilog="Example: driftline models rollback elec2-0000")
@click.argument("name")
@REGISTRY
@reported
def rollback_model(name: str, registry: str | None) -> None:
    """Make the previous champion champion again; once more brings it back."""
    from engine.champions import rollback
    from engine.modelcards import moved, place
    from engine.registry import Registry

    click.echo(f"{name}: {moved(rollback(Registry(place(registry)), name))}")


@models.command("register", epilog="Example: driftline models register runs/elec2-7 --registry r")
@click.argument("run_dir", type=FILE)
@REGISTRY
@reported
def register_models(run_dir: Path, registry: str | None) -> None:
    """Register whatever of a run is missing; twice is once.

    A champion that another run or a hand made stays.
    """
    from engine.modelcards import HOMES, place, register_run
    from engine.places import Place

    meant = place(registry) if registry or "DRIFTLINE_REGISTRY" in os.environ else None
    click.echo(register_run(meant or Place.of(HOMES[0]), run_dir, cache_folder()))


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog="Example: driftline serve --registry runs/registry --model elec2-0000 --log answers",
)
@REGISTRY
@click.option("--model", metavar="NAME", help="The registered model.  [default: the only one]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--log", type=FILE, metavar="DIR", help="Write down what is answered, and labels.")
@click.option("--every", type=click.FloatRange(0.05), default=0.5, show_default=True,
              metavar="S", help="Seconds between looks at the registry.")  # fmt: skip
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Answer over HTTP with a registry's champion: POST /predict, GET /healthz, GET /metrics.

    Another version takes over when it is promoted, with not one request refused. Ctrl-C ends it.
    """
    if ctx.invoked_subcommand is None:
        answer(**options)


@reported
def answer(
    registry: str | None, model: str | None, host: str, port: int, log: Path | None, every: float
) -> None:
    """Serve until a signal comes."""
    from engine.modelcards import place
    from engine.serving.running import serve as serving

    serving(place(registry), model, host, port, log, click.echo, every)


@serve.command("join", epilog="Example: driftline serve join answers answered.parquet")
@click.argument("log_dir", type=FILE)
@click.argument("table", type=FILE, metavar="TABLE.parquet")
@reported
def join_answers(log_dir: Path, table: Path) -> None:
    """Write logged answers and their labels as a table that driftline run reads."""
    from engine.serving.joining import join

    found = join(log_dir, table)
    told = f"{found.rows:,} rows, {found.labelled:,} of them labelled"
    stray = f"; {found.strays:,} labels belong to no answer" if found.strays else ""
    source = f"{{kind: file, path: {table}, label: {found.label}, time: {found.time}}}"
    click.echo(f"wrote {table}: {told}{stray}. Run it with a scenario whose source is\n  {source}")
