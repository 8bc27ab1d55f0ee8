from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.findings import Equipment, Findings, Track
from benchmarks.report import figures
from benchmarks.report.documents import COLUMNS, marked
from benchmarks.report.figures import Style, asked_for
from benchmarks.report.parts import Table, number
from benchmarks.report.story import tell
from benchmarks.savings import savings
from benchmarks.statistics import summarise
from benchmarks.twins import twins
from tests.benchmarks.inventions import MANY, invent

ROOT = Path(__file__).parent.parent.parent
EVIL = "<script>alert(1)</script>|*_x_`&\"'"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return invent(("elec2", "sea", EVIL), latencies=("0", "2"))


@pytest.fixture(scope="module")
def page(findings: Findings) -> str:
    return report.html(findings, summarise(findings))


class Page(HTMLParser):
    """The elements of a page, the words of its tables, and the data of its figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.data = self.title = ""
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("th", "td"):
            self.cells.append("")
        if tag not in ("meta", "link"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.inside):
            self.cells[-1] += data
        if self.inside[-1:] == ["script"] and self.elements[-1][1].get("id") == "data":
            self.data += data
        if self.inside[-1:] == ["title"]:
            self.title += data

    @property
    def plots(self) -> dict[str, Any]:
        found = json.loads(self.data)["plots"]
        assert isinstance(found, dict)
        return found


def test_the_same_findings_give_the_same_bytes(findings: Findings, page: str) -> None:
    again = invent(("elec2", "sea", EVIL), latencies=("0", "2"))
    assert report.html(again, summarise(again)) == page
    assert report.markdown(again, summarise(again)) == report.markdown(
        findings, summarise(findings)
    )
    assert report.csv(again) == report.csv(findings)


@pytest.mark.slow
def test_hash_seeds_do_not_matter() -> None:
    code = """
from benchmarks import report
from benchmarks.statistics import summarise
from benchmarks.twins import twins
from tests.benchmarks.inventions import invent
findings = invent()
summary = summarise(findings)
print(report.html(findings, summary), report.markdown(findings, summary), summary.as_json())
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_the_page_needs_nothing_else(page: str) -> None:
    for tag, attributes in Page(page).elements:
        assert tag not in ("link", "img", "iframe", "object"), tag
        for name in ("src", "href", "action"):
            assert not attributes.get(name) or str(attributes[name]).startswith("#"), attributes
        if attributes.get("http-equiv"):
            assert "default-src 'none'" in str(attributes["content"])
    ours = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert len(ours) < len(page) / 4  # without Plotly
    assert not re.search(r"https?:|@import|url\(", ours)


def test_what_people_write_is_only_text(findings: Findings, page: str) -> None:
    read = Page(page)
    assert [tag for tag, _ in read.elements].count("script") == 3
    assert "<script>alert" not in page
    assert EVIL in read.cells
    text = json.dumps(read.plots)
    assert "<script" not in text
    written = report.markdown(findings, summarise(findings))
    assert "<script" not in written.replace("```", "")
    assert marked("p < 0.05 <b>") == "p < 0.05 &lt;b>"
    assert marked("a|b\n_c_ d_e") == r"a\|b \_c\_ d_e"
    odd = replace(findings, name="</title><b>", replay="```\n# no", notes=("<i>",))
    again = Page(report.html(odd, summarise(odd)))
    assert "</title><b>" in again.title
    assert "i" not in {tag for tag, _ in again.elements}
    price = invent(["sea"], prices=["2%", "10%"], seeds=1)
    price = replace(
        price,
        prices=("2%", "</script>"),
        timelines=tuple(
            replace(line, optimum={"</script>": line.optimum["10%"]}) for line in price.timelines
        ),
        cells=tuple(replace(o, price="</script>") if o.price == "10%" else o for o in price.cells),
    )
    assert report.html(price, summarise(price)).count("</script>") == 3
    assert "````\n```\n# no\n````" in report.markdown(odd, summarise(odd))


def test_tables_hold_the_numbers_of_the_statistics(findings: Findings, page: str) -> None:
    summary = summarise(findings)
    tables = {
        part.caption: part
        for section in tell(findings, summary)
        for part in section.parts
        if isinstance(part, Table)
    }
    policies = tables["All policies, by × optimum"]
    for row, one in zip(policies.rows, summary.standings, strict=True):
        assert row[1:4] == [number(one.regret), number(one.area), number(one.cost, 1)]
    prices = tables["Cost ÷ hindsight optimum by price"]
    assert prices.rows[0][1:] == [
        number(summary.standings[0].by_price[price]) for price in findings.prices
    ]
    assert "Cost ÷ hindsight optimum by latency and label delay" in tables
    assert summary.best
    saved = savings(findings, summary.best.policy)
    mine = next(table for caption, table in tables.items() if caption.startswith("Saved by"))
    assert [row[0] for row in mine.rows][:3] == ["never", "every 1 block", "every 2 blocks"]
    assert f"({number(saved[5]['50%'].errors, 1)})" in mine.rows[3][3]
    shown = Page(page).cells
    assert shown == [
        cell for table in tables.values() for row in (table.head, *table.rows) for cell in row
    ]
    written = report.markdown(findings, summary)
    assert "beaten in both by another: never (" in written
    assert written.count("\n| --- |") == len(tables)
    assert marked(summary.verdict) in written.split("\n\n")[1]


def test_every_figure_has_a_name_and_the_same_style_for_a_policy(
    findings: Findings, page: str
) -> None:
    read = Page(page)
    boxes = [attributes for _, attributes in read.elements if attributes.get("class") == "plot"]
    assert {str(box["id"]) for box in boxes} == set(read.plots)
    assert all(box["aria-label"] for box in boxes)
    seen: dict[str, set[tuple[str, ...]]] = {}
    for plot in read.plots.values():
        for trace in plot["data"]:
            if trace.get("marker"):
                look = (trace["marker"]["color"], trace["marker"]["symbol"])
                seen.setdefault(trace["name"], set()).add(look)
    assert set(seen) == {*findings.roles, "optimum"}
    assert all(len(looks) == 1 for looks in seen.values())
    looks = figures.styles([str(i) for i in range(30)])
    assert len({(one.colour, one.dash) for one in looks.values()}) == 30


def test_plotly_takes_every_figure(page: str) -> None:
    import plotly.graph_objects as drawn

    for plot in Page(page).plots.values():
        drawn.Figure(plot)
    for template in figures.templates().values():
        drawn.layout.Template(template)


def test_a_timeline_knows_its_prices(findings: Findings) -> None:
    line = findings.timelines[0]
    plot = figures.timeline(line, list(findings.roles), ["never"], "10%")
    lines = [trace for trace in plot["data"] if trace["mode"] == "lines"]
    asked = [trace for trace in plot["data"] if trace["mode"] == "markers"]
    for price in findings.prices:
        for traces in (lines, asked):
            names = [trace["name"] for trace in traces if price in trace["meta"]]
            assert names == ["optimum", *findings.roles]
    visible = {trace["name"]: trace["visible"] for trace in lines if "10%" in trace["meta"]}
    assert [name for name, seen in visible.items() if seen is True] == ["optimum", "never"]
    assert not any(trace["visible"] for trace in lines if "10%" not in trace["meta"])
    track = line.tracks["adwin"]["10%"]
    mine = next(trace for trace in asked if trace["name"] == "adwin")
    assert tuple(mine["x"]) == track.asked
    assert len(plot["layout"]["shapes"]) == len(line.drifts or ())


def test_csv_reads_back_exactly(findings: Findings) -> None:
    cells = (replace(findings.cells[0], errors=1 / 3, optimum=0.0), *findings.cells[1:])
    rows = list(csv.DictReader(io.StringIO(report.csv(replace(findings, cells=cells)))))
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["errors"], rows[0]["regret_ratio"]) == (repr(1 / 3), "")
    for row, cell in zip(rows, cells, strict=True):
        assert (row["stream"], int(row["seed"]), row["policy"]) == (
            cell.stream, cell.seed, cell.policy,
        )  # fmt: skip
        assert [float(row[name]) for name in ("alpha", "errors", "cost")] == [
            cell.alpha, cell.errors, cell.cost,
        ]  # fmt: skip
        assert row["regret_ratio"] == "" or float(row["regret_ratio"]) == cell.regret_ratio
        assert (float(row["gap_closed"]) if row["gap_closed"] else None) == cell.gap
    assert not re.search(r"\d\.0(,|$)", report.csv(findings), flags=re.MULTILINE)


def odd_ones() -> Iterator[tuple[str, Findings]]:
    plain = invent(seeds=1)
    best = summarise(plain).best
    assert best
    yield (
        "no truth",
        replace(plain, timelines=tuple(replace(line, drifts=None) for line in plain.timelines)),
    )
    yield (
        "no drift",
        replace(plain, timelines=tuple(replace(line, drifts=()) for line in plain.timelines)),
    )
    yield (
        "free optimum",
        replace(plain, cells=tuple(replace(one, optimum=0.0) for one in plain.cells)),
    )
    yield (
        "the best is missing on a stream",
        replace(
            plain,
            cells=tuple(o for o in plain.cells if (o.policy, o.stream) != (best.policy, "sea")),
        ),
    )
    yield "no timelines", replace(plain, timelines=())
    yield "nothing", replace(plain, cells=(), timelines=())
    yield "one stream and price", invent(["elec2"], prices=["10%"], seeds=1)
    blank = tuple(
        replace(
            line,
            tracks={
                policy: {price: replace(track, errors=(None,) * 60) for price, track in at.items()}
                for policy, at in line.tracks.items()
            },
        )
        for line in plain.timelines
    )
    yield "no label ever came", replace(plain, timelines=blank)


@pytest.mark.parametrize(("what", "findings"), odd_ones(), ids=lambda one: str(one)[:20])
def test_odd_findings_make_a_report(what: str, findings: Findings) -> None:
    summary = summarise(findings)
    read = Page(report.html(findings, summary))
    written = report.markdown(findings, summary)
    assert "nan" not in re.findall(r"\w+", (written + " ".join(read.cells)).lower())
    assert "None" not in written
    told = {
        "no truth": "The true drifts are unknown.",
        "no drift": "The stream has no drift.",
        "free optimum": "No policy can be recommended",
        "nothing": "There is nothing to rank",
        "the best is missing on a stream": "(ran on 2 streams only in part)",
    }
    assert told.get(what, "") in written
    if what == "free optimum":
        assert re.search(r"\| adwin \|.* – \|\n", written.partition("## Cost by price")[0])
    assert ("What it would save you" in written) == (
        what not in ("free optimum", "nothing", "no timelines")
    )


def test_returns_and_rejections_are_drawn_apart() -> None:
    track = Track((5, 9, 20), (7, 40, 40), (0.1,), returns=((12, 14),), rejected=(9,))
    drawn = asked_for(track, Style("#000", "solid", "circle"), -1)
    assert drawn["x"] == [5, 9, 12, 20] and drawn["error_x"]["array"] == [2, 0, 2, 20]
    assert drawn["marker"]["symbol"] == ["circle", "x-thin-open", "circle-open", "circle"]
    assert [text.split()[0] for text in drawn["text"]] == ["asked", "asked", "an", "asked"]
    plain = asked_for(Track((5,), (7,), (0.1,)), Style("#000", "solid", "circle"), -1)
    assert plain["marker"]["symbol"] == "circle" and "text" not in plain


def test_arms_with_additions_stand_beside_their_policy() -> None:
    findings = invent(seeds=1, prices=("10%", "50%"))
    cells = []
    for cell in findings.cells:
        if cell.policy == "adwin":
            one = replace(cell, cost=100.0, bound="exact", least=50.0)
        elif cell.policy == "page_hinkley":
            cost = 50.0 if cell.stream == "sea" else 200.0
            one = replace(cell, cost=cost, bound="relaxed", least=40.0, reuses=2, rejected=1)
        else:
            one = cell
        cells.append(one)
    arm = Equipment(parts=("archive",), plain="adwin", bound="relaxed")
    lone = Equipment(parts=("gate", "tuning"), plain=None, bound="none")
    equipped = {"page_hinkley": arm, "never": lone}
    made = replace(findings, cells=tuple(cells), equipped=equipped)
    first, second = twins(made)
    assert first.by_stream == {"elec2": 2.0, "sea": 0.5, "checkout": 2.0}
    assert first.ratio == pytest.approx(2.0 ** (1 / 3)) and first.by_price["10%"] == first.ratio
    assert (first.cheaper, first.dearer) == pytest.approx((1 / 3, 2 / 3))
    assert first.bounded == pytest.approx((5 * 1.25 * 5) ** (1 / 3)) and first.reuses == 2
    assert second.ratio is None and second.bounded is None and second.plain is None
    text = report.markdown(made, summarise(made))
    assert "## Gate, tuning and archive" in text and "below 1 is possible" in text
    assert "Gate, tuning and archive" not in report.markdown(findings, summarise(findings))


def test_a_large_benchmark_makes_a_page_that_opens_fast() -> None:
    big = invent(["a", "b"], MANY, [f"{n}%" for n in (2, 5, 10, 25, 50, 100, 200)], 1, blocks=400)
    text = report.html(big, summarise(big))
    plots = json.dumps(Page(text).plots)
    assert len(plots) < 2 * 120_000  # for 15 streams 1.8 MB, to Plotly's 4.8
    for plot in Page(text).plots.values():
        for trace in plot["data"]:
            assert trace.get("mode") == "markers" or len(trace["x"]) <= 200


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser here")
def test_a_browser_draws_it_and_changes_the_price(page: str, tmp_path: Path) -> None:
    probe = """<script>addEventListener("load", () => {
      boxes.forEach((box) => draw(box));
      const choice = document.querySelector("select");
      choice.value = "200%";
      choice.dispatchEvent(new Event("change"));
      const seen = boxes.at(-1).data.filter((t) => t.mode === "markers" && t.visible === true);
      document.title = "drawn " + document.querySelectorAll(".main-svg").length / boxes.length
        + " true " + seen.every((t) => t.meta.includes("200%")) + " " + seen.length;
    });</script></body>"""
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", probe), "utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update --dump-dom"
    done = subprocess.run(
        [str(BROWSER), *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert re.search("<title>(.*?)</title>", done.stdout).group(1) == "drawn 3 true true 8"  # type: ignore[union-attr]
    assert "CONSOLE" not in done.stderr
