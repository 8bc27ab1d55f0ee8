"""The story as an HTML page, as Markdown and as a table: findings in, text out."""

from __future__ import annotations

import csv as tables
import io
import json
import re
from html import escape
from importlib.resources import files
from typing import Any

from benchmarks.findings import Findings
from benchmarks.report import figures
from benchmarks.report.parts import Choice, Code, Figure, Part, Table
from benchmarks.report.story import tell, winners
from benchmarks.statistics import Summary

COLUMNS = (
    "stream", "seed", "policy", "alpha", "latency", "label_delay", "errors", "retrains",
    "tuning_trials", "reuses", "cost", "optimum", "regret_ratio", "gap_closed", "rejected", "bound",
    "bound_cost",
)  # fmt: skip
"""Of `results.csv`."""
SAFE = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""What the browser is told: this page fetches nothing."""
CUT = "\\u003c"
"""How JSON writes the sign that could end a script."""

WIDE = 11
"""Columns from which a table's words are broken in print."""


def csv(findings: Findings) -> str:
    """Return `results.csv`: a line for each cell, undefined empty, numbers in full.

    Examples
    --------
    >>> csv(Findings(name="none", spec={}, replay="", versions={}, roles={}, prices=(), streams=(),
    ...              cells=(), timelines=()))[:24]
    'stream,seed,policy,alpha'
    """
    text = io.StringIO()
    writer = tables.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in findings.cells:
        named = {"gap_closed": cell.gap, "bound_cost": cell.least}
        values = [named[name] if name in named else getattr(cell, name) for name in COLUMNS]
        writer.writerow(map(written, values))
    return text.getvalue()


def written(value: Any) -> str:
    """Write a value so that reading it gives the same again.

    >>> written(2.0), written(0.1), written(None), written("sea")
    ('2', '0.1', '', 'sea')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def markdown(findings: Findings, summary: Summary) -> str:
    """Return `report.md`: the story without its figures.

    Examples
    --------
    >>> from benchmarks.statistics import summarise
    >>> empty = Findings(name="none", spec={}, replay="", versions={}, roles={}, prices=("2%",),
    ...                  streams=(), cells=(), timelines=())
    >>> markdown(empty, summarise(empty)).splitlines()[0]
    '# Which retrain policy? none'
    """
    blocks = [
        f"# {marked(title(findings))}",
        f"**{marked(summary.verdict)}**",
        marked(winners(summary)),
    ]
    for section in tell(findings, summary):
        blocks.append(f"{'#' * section.level} {marked(section.title)}")
        for part in section.parts:
            match part:
                case str():
                    blocks.append(marked(part))
                case Table():
                    blocks += [f"*{marked(part.caption)}*", marked_table(part)]
                case Code():
                    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", part.text)), default=0))
                    blocks.append(f"{fence}\n{part.text}\n{fence}")
                case Figure() | Choice():
                    pass
    blocks.append("The figures are in `report.html`.")
    return "\n\n".join(filter(None, blocks)) + "\n"


def marked(text: str) -> str:
    """Return text that Markdown shows as it is.

    >>> marked("page_hinkley|*<b>")
    'page_hinkley\\\\|\\\\*&lt;b>'
    """
    plain = re.sub(r"<(?=[\w/!?])", "&lt;", " ".join(text.split()).replace("&", "&amp;"))
    return re.sub(r"([\\`*|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", plain)


def marked_table(table: Table) -> str:
    """Return a table in Markdown, numbers to the right."""
    lines = [table.head, ["---", *["---:"] * (len(table.head) - 1)]]
    lines = [[marked(cell) for cell in lines[0]], list(lines[1])]
    for i, row in enumerate(table.rows):
        cells = [marked(cell) for cell in row]
        lines.append([f"**{c}**" if (i, j) in table.strong else c for j, c in enumerate(cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def title(findings: Findings) -> str:
    """Return the report's title."""
    return f"Which retrain policy? {findings.name}"


def html(findings: Findings, summary: Summary) -> str:
    """Return `report.html`: one page that needs nothing else.

    Examples
    --------
    >>> from benchmarks.statistics import summarise
    >>> empty = Findings(name="none", spec={}, replay="", versions={}, roles={}, prices=("2%",),
    ...                  streams=(), cells=(), timelines=())
    >>> html(empty, summarise(empty))[:15]
    '<!doctype html>'
    """
    from plotly.offline import get_plotlyjs

    sections = tell(findings, summary)
    plots: dict[str, Any] = {}
    contents, body = [], []
    for place, section in enumerate(sections):
        heading, level = escape(section.title), section.level
        contents.append(f'<li class="level-{level}"><a href="#part-{place}">{heading}</a></li>')
        parts = [shown(part, plots) for part in section.parts]
        heading = f"<h{level}>{heading}</h{level}>"
        body.append("\n".join([f'<section id="part-{place}">', heading, *parts, "</section>"]))
    data = json.dumps(
        {"plots": plots, "templates": figures.templates()},
        allow_nan=False,
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    name = escape(title(findings))
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{name}</title>",
        f"<style>\n{asset('page.css')}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>{name}</h1>",
        f'<p class="verdict">{escape(summary.verdict)}</p>',
        f"<p>{escape(winners(summary))}</p>",
        "</header>",
        f'<nav aria-label="Contents">\n<ul>\n{chr(10).join(contents)}\n</ul>\n</nav>',
        "<noscript><p>The figures need JavaScript; the tables hold their numbers.</p></noscript>",
        "<main>",
        *body,
        "</main>",
        f'<script type="application/json" id="data">{data.replace("<", CUT)}</script>',
        f"<script>{get_plotlyjs()}</script>",
        f"<script>\n{asset('page.js')}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def asset(name: str) -> str:
    """Return a file of this package."""
    return files("benchmarks.report").joinpath(name).read_text("utf-8")


def shown(part: Part, plots: dict[str, Any]) -> str:
    """Return a part in HTML; the data of a figure go to `plots`."""
    match part:
        case str():
            return f"<p>{escape(part)}</p>"
        case Code():
            return f"<pre><code>{escape(part.text)}</code></pre>"
        case Table():
            return shown_table(part)
        case Choice():
            options = [
                f"<option{' selected' if option == part.chosen else ''}>{escape(option)}</option>"
                for option in part.options
            ]
            return f"<p><label>{escape(part.label)} <select>{''.join(options)}</select></label></p>"
        case Figure():
            key = f"plot-{len(plots)}"
            plots[key] = part.plot
            return (
                f'<figure>\n<div class="plot" id="{key}" role="img" '
                f'aria-label="{escape(part.words)}" '
                f'style="min-height: {part.plot["layout"]["height"]}px"></div>\n'
                f"<figcaption>{escape(part.caption)}</figcaption>\n</figure>"
            )


def shown_table(table: Table) -> str:
    """Return a table in HTML."""
    caption = escape(table.caption)
    kind = "table wide" if len(table.head) > WIDE else "table"
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = []
    for i, row in enumerate(table.rows):
        cells = [escape(cell) for cell in row]
        cells = [
            f"<strong>{c}</strong>" if (i, j) in table.strong else c for j, c in enumerate(cells)
        ]
        rest = "".join(f"<td>{cell}</td>" for cell in cells[1:])
        rows.append(f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>')
    return (
        f'<div class="{kind}" role="region" aria-label="{caption}" tabindex="0">\n<table>\n'
        f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>"
    )
