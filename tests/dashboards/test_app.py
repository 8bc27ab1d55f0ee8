"""The app in a real browser: played, stepped, clicked, compared, followed, and linked to."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboards.lanes import figures_at, lanes
from dashboards.places import key_of
from dashboards.runs import open_run
from engine.events import Event, Kind
from tests.dashboards.browsing import Reader, missing, served, wait
from tests.dashboards.growing import RECORDS, Growing
from tests.dashboards.test_benches import written
from tests.e2e.driving import events

lacking = missing()
pytestmark = pytest.mark.skipif(bool(lacking), reason=lacking)


@pytest.fixture(scope="module")
def folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs: one, another with other settings, a growing and a damaged one."""
    home = tmp_path_factory.mktemp("replay")
    shutil.copytree(small, home / "small")
    shutil.copytree(small, home / "other")
    about = json.loads((home / "other" / "run.json").read_text("utf-8"))
    about["scenario"]["policy"] = {"kind": "adwin", "cooldown": 7}
    about["name"] = "<b>other</b>"
    (home / "other" / "run.json").write_text(json.dumps(about), "utf-8")
    (home / "torn").mkdir()
    (home / "torn" / "run.json").write_text('{"name": "to', "utf-8")
    return home


@pytest.fixture(scope="module")
def open_reader(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:  # fmt: skip
    with served(folder) as home:
        reader = Reader(home, tmp_path_factory.mktemp("profile"))
        yield reader
        reader.driver.quit()


@pytest.fixture
def reader(open_reader: Reader) -> Iterator[Reader]:
    """Return a browser; a test that leaves errors or outside requests behind fails."""
    open_reader.complaints()
    open_reader.driver.set_window_size(1280, 720)
    yield open_reader
    assert open_reader.complaints() == []


@pytest.fixture
def key(folder: Path) -> str:
    return key_of(folder / "small")


def told(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """Return the events of the first stream, from the file."""
    found = [one for one in events(folder / "small") if one["stream"] == "small-0000"]
    return [one for one in found if one["kind"] in kinds] if kinds else found


def table(raw: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file that was saved."""
    return list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))


def query(reader: Reader) -> dict[str, str]:
    """Return what the address says."""
    found = parse_qs(urlsplit(reader.driver.current_url).query)
    return {name: values[-1] for name, values in found.items()}


def test_a_run_opens_and_plays(reader: Reader, key: str, folder: Path) -> None:
    reader.replay(f"runs={key}&at=100&speed=8")
    assert reader.text("#log") == "Nothing has happened yet."
    reader.js("dl.player.seek(500)")
    reader.press("#play")
    reader.until("dl.state.at > 700")
    reader.press("#play")
    reader.until("!dl.state.playing")
    at = int(reader.js("return Math.floor(dl.state.at)"))
    assert 700 < at < RECORDS - 1
    asked = sum(not one["first"] for one in told(folder, "job_started") if one["seq"] <= at)
    reader.until(
        "document.querySelector('#position strong').textContent === arguments[0]", f"{at:,}"
    )
    assert reader.numbers()["spent"] == f"{5 * asked}" and asked


@pytest.mark.slow
def test_numbers_are_those_of_the_events_at_every_record(
    reader: Reader, key: str, folder: Path
) -> None:
    reader.replay(f"runs={key}")
    made = lanes(open_run(folder / "small"), "small-0000")
    places = range(0, RECORDS, 7)
    shown = reader.js(
        "return arguments[0].map(at => dl.figuresAt(dl.state.runs[0].lanes, at))", list(places)
    )
    for at, one in zip(places, shown, strict=True):
        expected = figures_at(made, at)
        assert set(one) == set(expected)
        for name, value in expected.items():
            assert one[name] == (value if value is None else pytest.approx(value, abs=1e-4)), name
    drift = told(folder, "drift")[0]["seq"]
    found = min(one["seq"] for one in told(folder, "alarm") if one["of_seq"] >= drift)
    reader.js("dl.player.seek(arguments[0])", found)
    reader.until("document.querySelector('.number-delay .value').textContent === arguments[0]",
                 f"{found - drift:,}")  # fmt: skip
    reader.js("dl.player.seek(arguments[0])", found - 1)
    reader.until("document.querySelector('.number-delay .value').textContent === arguments[0]",
                 f"{found - 1 - drift:,} …")  # fmt: skip


@pytest.mark.slow
def test_playing_asks_the_server_nothing_and_updates_ten_times_a_second(
    reader: Reader, key: str
) -> None:
    reader.replay(f"runs={key}&at=0&speed=0.25")
    time.sleep(0.5)
    reader.js("performance.clearResourceTimings(); dl.player.play()")
    began, ticks = reader.js("return [performance.now(), dl.state.ticks]")
    time.sleep(3)
    ended, more = reader.js("return [performance.now(), dl.state.ticks]")
    reader.js("dl.player.pause()")
    assert reader.js("return performance.getEntriesByType('resource').length") == 0
    assert (more - ticks) / (ended - began) * 1000 > 5  # 10 where nothing else runs


@pytest.mark.slow
def test_keys_move_the_playhead_and_the_range(reader: Reader, key: str, folder: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    reader.replay(f"runs={key}&at=0")
    seqs = sorted({one["seq"] for one in told(folder)})
    for expected in seqs[:3]:
        reader.type(Keys.ARROW_RIGHT, held=Keys.SHIFT)
        reader.until("dl.state.at === arguments[0]", expected)
    reader.press("#previous")
    reader.until("dl.state.at === arguments[0]", seqs[1])
    reader.press("#next")
    reader.until("dl.state.at === arguments[0]", seqs[2])
    reader.type(Keys.ARROW_LEFT)
    reader.until("dl.state.at === arguments[0]", seqs[2] - 1)
    reader.type(Keys.END)
    reader.until("dl.state.at === arguments[0]", RECORDS - 1)
    reader.type("w", "w")
    reader.until("dl.stage.box().to - dl.stage.box().from < 760")
    before = reader.js("return dl.stage.box().from")
    reader.type("a")
    reader.until("dl.stage.box().from < arguments[0]", before)
    reader.type("0")
    reader.until("dl.stage.zoomed() === null")
    reader.type(Keys.HOME)
    reader.until("dl.state.at === 0")
    reader.type("?")
    reader.until("document.querySelector('.help')?.textContent.includes('zoom')")
    reader.type(Keys.ESCAPE)
    reader.until("document.querySelector('.help') === null")


@pytest.mark.slow
def test_what_is_ahead_is_hidden(reader: Reader, key: str, folder: Path) -> None:
    first = told(folder, "alarm")[0]["seq"]
    reader.replay(f"runs={key}&at={first - 5}")
    assert reader.js(
        "const box = dl.stage.box();"
        "const veil = document.getElementById('veil').getBoundingClientRect();"
        "const home = document.getElementById('stage').getBoundingClientRect();"
        "return veil.left - home.left <= dl.stage.x(box, arguments[0]) &&"
        " veil.right - home.left >= box.left + box.width && veil.height >= box.height",
        first,
    )
    assert "alarm" not in reader.text("#log")
    job = next(one for one in told(folder, "job_started") if not one["first"])
    reader.js("dl.player.seek(arguments[0])", job["seq"] + 10)
    reader.until("document.querySelectorAll('.pending').length === 1")
    reader.js("dl.player.seek(arguments[0])", job["seq"] + 41)
    reader.until("document.querySelectorAll('.pending').length === 0")


@pytest.mark.slow
def test_a_click_on_the_lanes_moves_the_playhead(reader: Reader, key: str) -> None:
    reader.replay(f"runs={key}")
    reader.click_lane("error", 900)
    reader.until("Math.abs(dl.state.at - 900) < 5")
    at = reader.js("return dl.state.at")
    reader.until(
        "document.querySelector('#slider [role=slider]').ariaValueNow === arguments[0]",
        str(at),
    )


@pytest.mark.slow
def test_a_crosshair_reads_all_lanes_up_to_the_playhead(
    reader: Reader, key: str, folder: Path
) -> None:
    reader.replay(f"runs={key}&at=1000")
    reader.point_at("error", 800)
    reader.until("document.getElementById('readout').checkVisibility()")
    assert re.match(r"(79\d|80\d) · \d{4}-\d\d-\d\d", reader.text("#readout"))
    made = lanes(open_run(folder / "small"), "small-0000")
    assert f"{100 * made['window_error'][800 // made['bin']]:.1f}%" in reader.text("#readout")
    reader.point_at("error", 1200)
    reader.until("!document.getElementById('readout').checkVisibility()")


@pytest.mark.slow
def test_an_alarm_explains_itself(reader: Reader, key: str, folder: Path) -> None:
    drift = told(folder, "drift")[0]["seq"]
    alarm = next(one for one in told(folder, "alarm") if one["of_seq"] >= drift)
    reader.replay(f"runs={key}")
    reader.click_lane("alarms", alarm["seq"])
    reader.until("document.querySelector('#why h2')?.textContent.startsWith('alarm at record')")
    shown = reader.text("#why")
    assert f"alarm at record {alarm['seq']:,}" in shown
    assert f"Belongs to the drift at {drift:,}" in shown
    assert reader.until("document.querySelectorAll('#why .distribution').length") >= 1
    first = reader.until("document.querySelector('#records .ag-row [col-id=seq]')?.textContent")
    assert int(first) == alarm["of_seq"] - 20


@pytest.mark.slow
def test_a_model_explains_itself_up_to_the_playhead(reader: Reader, key: str, folder: Path) -> None:
    verdict = next(one for one in told(folder, "promoted", "rejected") if one["model"] == 1)
    decision = next(one for one in told(folder, "decision"))
    reader.replay(f"runs={key}")
    reader.click_lane("training", verdict["seq"])
    reader.until("document.querySelector('#why h2')")
    shown = reader.text("#why")
    assert f"{verdict['kind']} at record {verdict['seq']:,}" in shown
    assert f"records {decision['window']['first']:,} to {decision['window']['last']:,}" in shown
    assert f"error on {verdict['judged_rows']} records" in shown
    hidden = (
        "[...document.querySelectorAll('#why .step')].filter(one => one.hidden)"
        ".some(one => Number(one.dataset.seq) === arguments[0])"
    )
    assert not reader.js(f"return {hidden}", verdict["seq"])
    reader.js("dl.player.seek(arguments[0])", verdict["seq"] - 1)
    reader.until(hidden, verdict["seq"])


@pytest.mark.slow
def test_two_runs_on_one_axis_and_their_settings(reader: Reader, folder: Path) -> None:
    reader.open("/")
    reader.until("document.querySelectorAll('#runs .ag-row').length === 3")
    reader.js(
        "dash_ag_grid.getApi('runs').forEachNode(one => "
        "one.setSelected(one.data.state === 'finished'))"
    )
    reader.until("!document.getElementById('go-compare').disabled")
    reader.press("#go-compare")
    reader.until("document.getElementById('differences')")
    assert "policy.cooldown" in reader.text("#differences")
    assert reader.js("return document.querySelector('#differences b')") is None, "no HTML of a run"
    reader.driver.back()
    reader.until("document.querySelectorAll('#runs .ag-row').length === 3")
    keys = ",".join(key_of(folder / name) for name in ("small", "other"))
    reader.replay(f"runs={keys}&mode=overlaid")
    one, other = reader.numbers(0), reader.numbers(1)
    assert one == other and one["cost"] != "–"
    rows = reader.js("return dl.stage.box().meta.rows.map(one => one.kind)")
    assert rows.count("error") == 1 and rows.count("alarms") == 2
    reader.js("[...document.querySelectorAll('#mode label')].pop().click()")
    reader.until("dl.stage.box().meta.rows.filter(one => one.kind === 'error').length === 2")
    wait(lambda: query(reader).get("mode") == "stacked")
    assert reader.js("return document.querySelector('.stage b')") is None


@pytest.mark.slow
def test_an_address_restores_the_view(reader: Reader, key: str, folder: Path) -> None:
    alarm = told(folder, "alarm")[0]
    given = {
        "runs": key, "stream": "small-0001", "at": "1200", "from": "500", "to": "1300",
        "speed": "4", "theme": "dark",
    }  # fmt: skip
    reader.replay("&".join(f"{name}={value}" for name, value in given.items()))
    reader.until(
        "Math.abs(dl.stage.box().from - 500) < 2 && Math.abs(dl.stage.box().to - 1300) < 2"
    )
    assert reader.js("return [dl.state.at, dl.state.speed, dl.state.runs[0].stream]") == [
        1200, 4, "small-0001",
    ]  # fmt: skip
    assert reader.js("return document.documentElement.dataset.theme") == "dark"
    reader.js("dl.player.seek(1100)")
    wait(lambda: query(reader).get("at") == "1100")
    reader.js("[...document.querySelectorAll('#log .event')].pop().click()")
    wait(lambda: "event" in query(reader))
    link = reader.driver.current_url
    shown = reader.until("document.querySelector('#why h2')?.textContent")
    reader.open("/")
    reader.until("document.querySelector('#runs')")
    reader.driver.get(link)
    reader.drawn()
    reader.until("document.querySelector('#why h2')?.textContent === arguments[0]", shown)
    assert reader.js("return dl.state.at") == 1100
    assert query(reader) | {"from": "", "to": ""} == query(reader) | {"from": "", "to": ""}
    assert alarm["kind"] == "alarm"


@pytest.mark.slow
def test_a_growing_run_is_followed(reader: Reader, folder: Path) -> None:
    run = Growing(folder / "live")
    try:
        run.grow(400)
        reader.replay(f"runs={key_of(folder / 'live')}")
        assert "live, last heard" in reader.text("#live")
        assert reader.js("return [dl.state.last, dl.state.at]") == [399, 399]
        waited = []
        for until in range(440, 801, 40):
            run.grow(until)
            flushed = time.monotonic()
            reader.until("document.querySelector('#position strong').textContent === arguments[0]",
                         str(until - 1))  # fmt: skip
            waited.append(time.monotonic() - flushed)
            time.sleep(until % 7 / 10)  # not in step with the page
        assert sorted(waited)[len(waited) // 2] < 2, f"{waited} s from flushed to shown"
        assert reader.js("return dl.state.at") == 799, "it stays at the edge"
        reader.js("dl.player.seek(300)")
        run.grow(1200)
        reader.until("dl.state.last === 1199")
        assert reader.js("return dl.state.at") == 300, "it stays where the reader put it"
        run.grow()
        run.finish()
        reader.until("document.getElementById('live').textContent === 'finished'")
        assert reader.js("return [dl.state.last, dl.state.at]") == [RECORDS - 1, 300]
    finally:
        shutil.rmtree(folder / "live")


@pytest.mark.slow
def test_a_live_run_goes_on_and_tells_what_is_odd(reader: Reader, folder: Path) -> None:
    run = Growing(folder / "news", live=True)
    shown = "document.querySelector('#position strong').textContent === arguments[0]"
    try:
        run.grow(600)
        run.finish()
        reader.replay(f"runs={key_of(folder / 'news')}")
        assert reader.text("#live") == "finished"
        reader.js("dl.player.seek(500)")
        run.begin()
        run.grow(400)
        reader.until("document.getElementById('live').textContent.startsWith('live')")
        reader.until("dl.state.last === 399 && dl.state.at === 399")
        run.grow(900)
        reader.until(shown, "500")
        alert = {"alert": "no_data", "when": "no_data", "level": "warning"}
        raised = {**alert, "state": "raised", "message": "Nothing came for 6 h."}
        over = {**alert, "state": "recovered", "message": "Articles come again."}
        odd = {"what": "empty_poll", "topic": "<i>art</i>", "run": 3}
        odd_ones: tuple[tuple[int, Kind, dict[str, Any]], ...] = (
            (910, "anomaly", odd), (920, "alert", raised), (950, "alert", over),
        )  # fmt: skip
        for seq, kind, details in odd_ones:
            run.note(Event(kind, "small-0000", 10**6 * seq, seq, seq, details))
        reader.until("dl.state.last === 950")
        reader.js("dl.player.seek(930)")
        reader.until("document.querySelector('#log .kind-alert')?.textContent.includes('6 h')")
        assert "empty poll (<i>art</i>)" in reader.text("#log .kind-anomaly")
        assert "over" not in reader.text("#log .kind-alert .word"), "that is ahead"
        reader.click_lane("anomalies", 920)
        reader.until("document.querySelector('#why .facts')?.textContent.includes('Nothing came')")
        reader.js("dl.player.seek(950)")
        reader.until(
            "document.querySelector('#log .kind-alert.calm .word')?.textContent === 'over'"
        )
    finally:
        run.stop()
        shutil.rmtree(folder / "news")


@pytest.mark.slow
def test_damaged_runs_say_so(reader: Reader, folder: Path) -> None:
    reader.open(f"/replay?runs={key_of(folder / 'torn')}")
    reader.until("document.getElementById('message')")
    assert "cannot be opened" in reader.text("#message") and "torn" in reader.text("#message")
    reader.open("/replay?runs=0000000000")
    reader.until("document.getElementById('message')?.textContent.includes('no such run')")


@pytest.mark.slow
def test_many_streams_are_links(reader: Reader, key: str) -> None:
    reader.open(f"/streams?run={key}&sort=error")
    reader.until("document.querySelectorAll('.cell').length === 2")
    assert reader.until(
        "[...document.querySelectorAll('.cell img')].every(one => one.naturalWidth)"
    )
    reader.press(".cell")
    reader.drawn()
    assert query(reader)["stream"].startswith("small-000")


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(reader: Reader, key: str, theme: str) -> None:
    reader.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for path in ("/?x=1", f"/replay?runs={key}", f"/streams?run={key}"):
            reader.open(f"{path}&theme={theme}")
            reader.until("document.querySelector('#page > *')")
            assert reader.js("return document.documentElement.scrollWidth") <= 390, path
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_lanes_can_be_saved(reader: Reader, key: str) -> None:
    reader.replay(f"runs={key}")
    rows = list(csv.reader(reader.js("return dl.csv()").splitlines()))
    assert rows[0][:4] == ["run", "stream", "record", "time"] and len(rows) > 500
    assert rows[-1][2] == str(RECORDS - 1) and re.match(r"\d{4}-", rows[-1][3])
    assert reader.js("return [dl.cell('=1+1'), dl.cell('a,\"b'), dl.cell(null)]") == [
        "'=1+1", '"a,""b"', "",
    ]  # fmt: skip
    reader.press("#save-csv")
    saved = list(csv.reader(reader.downloaded("driftline-lanes.csv").decode().splitlines()))
    assert saved == rows
    reader.press("#save-png")
    picture = reader.downloaded("driftline.png")
    assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82")
    assert int.from_bytes(picture[16:20]) == 2 * reader.js("return dl.stage.graph().clientWidth")


@pytest.mark.slow
def test_tables_can_be_saved(reader: Reader, key: str, folder: Path) -> None:
    reader.open("/")
    reader.until("document.querySelectorAll('#runs .ag-row').length === 3")
    reader.press("#runs-csv")
    rows = list(
        csv.DictReader(reader.downloaded("driftline-runs.csv").decode("utf-8-sig").splitlines())
    )
    assert {row["Run"] for row in rows} == {"small", "<b>other</b>", "torn"}
    alarm = told(folder, "alarm")[0]
    reader.replay(f"runs={key}")
    reader.click_lane("alarms", alarm["seq"])
    reader.until("document.querySelector('#records .ag-row')")
    reader.press("#records-csv")
    rows = list(
        csv.DictReader(reader.downloaded("driftline-records.csv").decode("utf-8-sig").splitlines())
    )
    assert [int(row["Record"]) for row in rows] == list(
        range(alarm["of_seq"] - 20, alarm["of_seq"] + 21)
    )


@pytest.mark.slow
def test_a_benchmark_shows_costs_schedules_and_gives_its_report(
    reader: Reader, folder: Path
) -> None:
    bench = folder / "bench"
    bench.mkdir()
    try:
        written(bench)
        reader.open(f"/bench?run={key_of(bench)}")
        marks = (
            "document.querySelector('#schedules .js-plotly-plot')?.data"
            ".find(one => one.name === 'optimum' && one.mode === 'markers')?.x.join()"
        )
        reader.until(f"{marks} === '300,700'")
        reader.js("[...document.querySelectorAll('#bench-price label')][0].click()")
        reader.until(f"{marks} === '290,600'")
        assert "at a price of 2%" in reader.text("#schedules-about")
        assert reader.js("return document.querySelectorAll('#curves .legendtext').length") == 3
        reader.press("#report")
        saved = reader.downloaded("bench-report.html")
        assert saved == (bench / "report.html").read_bytes()
        reader.press("#policies-csv")
        rows = table(reader.downloaded("driftline-policies.csv"))
        assert {row["Policy"] for row in rows} >= {"adwin", "never"}
    finally:
        shutil.rmtree(bench)
