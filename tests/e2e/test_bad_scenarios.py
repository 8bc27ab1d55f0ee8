"""Every mistake that a scenario can hold: one line that says where and what, nothing written."""

from __future__ import annotations

import gzip
import pickle
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.e2e.driving import ROOT, Answer, driftline

GEN = """\
name: bad
source: {kind: generator, name: sea, records: 400}
model: {kind: catboost, iterations: 5, depth: 2}
retraining: {first: 50, window: 100}
"""
FILE = """\
name: bad
source:
  kind: file
  path: t.csv
  label: y
retraining: {first: 50, window: 100}
"""
NUMBERS = FILE.replace("label: y", "label: z") + "labels: {task: regression}\n"
SYNTH = """\
name: bad
source:
  kind: synthetic
  records: 400
  label: y
  table: t.csv
retraining: {first: 50, window: 100}
"""
SAVED = SYNTH.replace("table: t.csv", "synthesizer: saved.pkl")
STREAM = "name: bad\nsource: {kind: generator, name: "


def rows(count: int = 200) -> str:
    """Return a small table: numbers x and z, categories c, times t, labels y."""
    made = ["x,z,c,t,y"]
    for at in range(count):
        time = f"2024-01-{1 + at // 24:02d}T{at % 24:02d}:00:00"
        made.append(f"{at % 7},{at % 11 / 2},{'rgb'[at % 3]},{time},{'no' if at % 5 else 'yes'}")
    return "\n".join(made) + "\n"


def write_data(folder: Path) -> None:
    """Write the good table and all kinds of bad ones."""
    good = rows()
    header, _, body = good.partition("\n")
    texts = {
        "t.csv": good,
        "empty.csv": "",
        "header.csv": header + "\n",
        "twice.csv": f"x,x,c,t,y\n{body}",
        "ragged.csv": good + "1,2\n",
        "words.csv": good + "x,1,r,2024-02-01,yes\n",
        "odd_times.csv": good + "1,1,r,tomorrow,yes\n" * 201,
        "semicolons.csv": good.replace(",", ";"),
        "one_label.csv": "y\nno\nyes\n",
        "other.csv": good.replace("x,z,c", "x,q,c", 1),
        "short.csv": rows(20),
        "t.txt": good,
        "t.csv.gz": good,
        "t.parquet": good,
        "model.cbm": "no model\n",
        "model.txt": "no model\n",
        "junk.pkl": "no pickle\n",
        "bad_module_raises.py": "raise RuntimeError('not today\\nnor tomorrow')\n",
        "bad_module_syntax.py": "def make(:\n",
        "bad_module_exits.py": "raise SystemExit(3)\n",
        "bad_module_empty.py": "make = 5\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 8)
    (folder / "zeros.csv").write_bytes(b"\0" * 4096)
    (folder / "latin.csv").write_bytes("x,y\n1,größe\n".encode("latin-1") * 9)
    (folder / "cut.csv.gz").write_bytes(gzip.compress(good.encode())[:-300])
    (folder / "dict.pkl").write_bytes(pickle.dumps({"a": 1}))
    parquet.write_table(pa.table({"x": [[1], [2]], "y": ["a", "b"]}), folder / "nested.parquet")
    parquet.write_table(pa.table({"x": pa.array([], pa.int64()), "y": pa.array([], pa.string())}),
                        folder / "none.parquet")  # fmt: skip
    (folder / "folder.csv").mkdir()


@dataclass(frozen=True)
class Case:
    """A scenario with one mistake: its text, where the mistake is, and words of the message."""

    name: str
    text: str | bytes
    place: str
    words: str
    options: tuple[str, ...] = field(default=())


def item(text: str) -> str:
    """Return a script of one item; it stands at 5:5 of `GEN`, 7:5 of `FILE`."""
    return f"script:\n  - {text}\n"


def in_file(setting: str) -> str:
    """Return `FILE` with another line among the source's settings, which is line 6."""
    return FILE.replace("label: y\n", f"label: y\n  {setting}\n")


def stream(name: str, params: str) -> str:
    return f"{STREAM}{name}, records: 400, params: {params}}}\n"


DOCUMENTS = [
    Case("empty", "", "1:1", "empty"),
    Case("only comments", "# nothing\n", "1:1", "empty"),
    Case("binary", bytes(range(256)), "1:1", "not a text file"),
    Case("zeros", b"\0" * 400, "1:1", "not a text file"),
    Case("utf-16", GEN.encode("utf-16"), "1:1", "not a text file"),
    Case("latin-1", "name: größe\n".encode("latin-1"), "1:1", "UTF-8"),
    Case("a list", "- a\n- b\n", "1:1", "mapping"),
    Case("a word", "hello\n", "1:1", "mapping"),
    Case("a number", "5\n", "1:1", "mapping"),
    Case("open bracket", GEN + "policy: {kind: adwin\n", "6:1", "not valid YAML"),
    Case("bad indent", "name: bad\n source: x\n", "2:8", "not valid YAML"),
    Case("a tab", "source:\n\tkind: file\n", "2:1", "not valid YAML"),
    Case("open quote", 'name: "bad\n', "2:1", "not valid YAML"),
    Case("unknown tag", GEN + "policy: !!python/object:os.system {}\n", "5:9", "not valid YAML"),
    Case("unknown alias", GEN + "policy: *gone\n", "5:9", "not valid YAML"),
    Case("an alias of itself", GEN + "policy: &a {kind: any_of, of: [*a]}\n", "5:31", "itself"),
    Case("two documents", GEN + "---\n" + GEN, "5:1", "not valid YAML"),
    Case("a key twice", GEN + "seed: 1\nseed: 2\n", "6:1", "'seed' stands here a second time"),
    Case("a key twice inside", GEN + "prices: {error: 1, error: 2}\n", "5:20", "second time"),
    Case("a key that is a list", GEN + "[1, 2]: 3\n", "5:1", "key"),
    Case("a key that is nothing", GEN + "~: 3\n", "5:1", "must be a text"),
    Case("deep lists", GEN + "policy: " + "[" * 1200, "1:1", "deep"),
    Case("deep mappings", GEN + "policy: " + "{of: " * 1200 + "}" * 1200, "1:1", "deep"),
    Case("deep policies",
         GEN + "policy: " + "{kind: any_of, of: [" * 120 + "never" + "]}" * 120 + "\n",
         "", "deep"),
    Case("a long name", GEN.replace("bad", "a/" * 500_000), "1:1", "must match"),
    Case("a long key", GEN + "k" * 1_000_000 + ": 1\n", "5:1000001", "not valid YAML"),
    Case("many aliases", "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + at)}: &{chr(98 + at)} [{','.join([f'*{chr(97 + at)}'] * 9)}]\n"
        for at in range(8)), "", "aliases stand for"),
]  # fmt: skip

KEYS = [
    Case("unknown key", GEN + "polcy: adwin\n", "5:1", "did you mean 'policy'?"),
    Case("unknown key inside", GEN + "prices:\n  eror: 1\n", "6:3", "did you mean 'error'?"),
    Case("unknown key in a policy in any_of",
         GEN + "policy:\n  kind: any_of\n  of:\n    - {kind: every, recrods: 5}\n",
         "8:21", "did you mean 'records'?"),
    Case("unknown key in a detector", GEN + "detectors:\n  - {kind: adwin, detla: 1}\n",
         "6:19", "did you mean 'delta'?"),
    Case("unknown key in a source", in_file("lable: y"), "6:3", "did you mean 'label'?"),
    Case("unknown key in an item", GEN + item("{kind: outage, at: 1, untill: 5}"), "6:27",
         "did you mean 'until'?"),
    Case("unknown key in a region",
         GEN + item("{kind: concept, at: 1, relabel: {a: b}, where: {colum: x0, above: 1}}"),
         "6:53", "did you mean 'column'?"),
    Case("missing source", "name: bad\n", "1:1", "source: is missing"),
    Case("missing kind", "source: {path: t.csv}\n", "1:1", "needs a kind"),
    Case("missing label", FILE.replace("  label: y\n", ""), "2:1", "label: is missing"),
    Case("unknown source", "source: {kind: fiel, path: t.csv, label: y}\n", "1:1",
         "did you mean 'file'?"),
    Case("unknown policy", GEN + "policy: adwn\n", "5:1", "did you mean 'adwin'?"),
    Case("unknown policy in any_of", GEN + "policy: {kind: any_of, of: [adwn]}\n", "5:29",
         "did you mean 'adwin'?"),
    Case("unknown detector", GEN + "detectors: [{kind: kswim}]\n", "5:13", "did you mean 'kswin'?"),
    Case("unknown item", GEN + item("{kind: covariant, at: 1}"), "6:5",
         "did you mean 'covariate'?"),
    Case("unknown model", GEN.replace("catboost", "catbost"), "3:1", "did you mean 'catboost'?"),
    Case("no policy at all", GEN + "policy:\n", "5:1", "policy"),
    Case("a bare alarm", GEN + "policy: alarm\n", "5:1", "detector: is missing"),
    Case("no members", GEN + "policy: {kind: any_of, of: []}\n", "5:24", "at least 1"),
    Case("an alarm of nobody", GEN + "policy: {kind: alarm, detector: bob}\n", "5:23", "bob"),
]  # fmt: skip

VALUES = [
    Case("text for number", GEN + "seed: seven\n", "5:1", "whole number"),
    Case("fraction for count", GEN.replace("400", "400.5"), "2:38", "whole number"),
    Case("number for text", GEN.replace("name: bad", "name: 5"), "1:1", "must be a text"),
    Case("list for mapping", GEN + "prices: [1, 50]\n", "5:1", "mapping"),
    Case("text for mapping", GEN + "prices: cheap\n", "5:1", "mapping"),
    Case("mapping for list", GEN + "script: {kind: outage}\n", "5:1", "list"),
    Case("text for list", FILE.replace("label: y", "label: y\n  ignore: c"), "6:3", "list"),
    Case("text for switch", GEN + "policy: {kind: adwin, queue: maybe}\n", "5:23", "true or false"),
    Case("on: true", GEN + "detectors: [{kind: adwin, on: true}]\n", "5:27", "'error'"),
    Case("on: yes is a word", GEN + "detectors: [{kind: adwin, on: yes}]\n", "5:27", '"yes"'),
    Case("on: off is a word", GEN + "detectors: [{kind: ddm, on: off}]\n", "5:25", '"off"'),
    Case("queue: on is a word", GEN + "policy: {kind: adwin, queue: on}\n", "5:23", "true or"),
    Case("share above 1",
         GEN + item("{kind: missing, at: 1, until: 9, columns: [x0], share: 1.5}"), "6:53", "1.5"),
    Case("negative share", GEN + item("{kind: duplicates, at: 1, until: 9, share: -0.1}"),
         "6:41", "0"),
    Case("nan", GEN + "prices: {error: .nan}\n", "5:10", "finite"),
    Case("infinity", GEN + "prices: {retrain: .inf}\n", "5:10", "finite"),
    Case("nan scale",
         GEN + item("{kind: covariate, at: 1, columns: {x0: {scale: .nan}}}"), "6:45", "finite"),
    Case("nan in a policy", GEN + "policy: {kind: error_threshold, rise: .nan}\n", "5:33",
         "finite"),
    Case("nan generator parameter", stream("sea", "{noise: .nan}"), "2:61", "finite"),
    Case("a huge number", GEN.replace("400", "1" + "0" * 5000), "2:47", "number"),
    Case("a number beyond 64 bits", GEN.replace("first: 50", "first: " + "9" * 25), "4:14", ""),
    Case("more rows than time", GEN.replace("400", "4" + "0" * 12 + ", rate: 1/500w"), "2:62",
         "9999"),
    Case("a delay beyond time", GEN + "labels: {delay: 99999999999999w}\n", "5:10", "too long"),
    Case("negative latency", GEN.replace("window: 100", "window: 100, latency: -5"), "4:38",
         "negative"),
    Case("negative inner latency",
         GEN.replace("window: 100", "window: 100, latency: {fixed: -5}"), "4:48", "negative"),
    Case("a latency in words", GEN.replace("window: 100", "window: 100, latency: soon"), "4:38",
         "duration"),
    Case("negative delay", GEN + "labels: {delay: -1}\n", "5:10", "negative"),
    Case("a delay without unit", GEN + 'labels: {delay: "48"}\n', "5:10", "duration"),
    Case("a period of nothing", GEN + "policy: {kind: every, time: 0h}\n", "5:1", "longer"),
    Case("two periods", GEN + "policy: {kind: every, time: 1h, records: 5}\n", "5:1", "one of"),
    Case("a bad rate", GEN.replace("400", "400, rate: often"), "2:52", "rate"),
    Case("a rate of nothing", GEN.replace("400", "400, rate: 0/s"), "2:52", "rate"),
    Case("a bad moment", GEN.replace("400", "400, start: christmas"), "2:52", "moment"),
    Case("no such day", GEN.replace("400", "400, start: 2023-02-30"), "2:59", "out of range"),
    Case("a number for a moment", GEN.replace("400", "400, start: 1996"), "2:52", "text"),
    Case("a name with a slash", GEN.replace("bad", "../bad"), "1:1", "must match"),
    Case("holdout not below window",
         GEN.replace("window: 100", "window: 100, judge: {holdout: 100}"), "4:1", "smaller"),
    Case("an unknown judge", GEN.replace("window: 100", "window: 100, judge: fair"), "4:38",
         "always_promote"),
    Case("a judge of two minds", GEN.replace("100}", "100, judge: {holdout: 9, shadow: 9}}"),
         "4:46", "holdout"),
    Case("an unknown test", GEN.replace("100}", "100, judge: {shadow: 9, test: magic}}"),
         "4:57", "mcnemar"),
    Case("bounds the wrong way round",
         GEN.replace("100}", "100, tuning: {space: {depth: [5, 2]}}}"), "4:55", "lower bound"),
    Case("one trial", GEN.replace("100}", "100, tuning: {trials: 1}}"), "4:47", "2"),
    Case("a search by the clock", GEN.replace("100}", "100, tuning: {timeout: 5m}}"), "4:47",
         "by the clock"),
    Case("an archive wider than the window",
         GEN.replace("100}", "100, archive: {window: 101}}"), "4:1", "must not exceed"),
    Case("streams: 0", GEN + "streams: 0\n", "5:1", "1"),
    Case("streams: many", GEN + "streams: many\n", "5:1", ""),
    Case("too few seeds", GEN + "streams: {count: 3, seeds: [1, 2]}\n", "5:1", "2 seeds for 3"),
    Case("a negative seed", GEN + "seed: -1\n", "5:1", "0"),
    Case("kswin windows", GEN + "detectors: [{kind: kswin, stat_size: 90}]\n", "5:13",
         "less than half"),
    Case("error detector on features", GEN + "detectors: [{kind: ddm, on: features}]\n", "5:25",
         "'error'"),
]  # fmt: skip

SCRIPTS = [
    Case("after the end", GEN + item("{kind: concept, at: 400, to: {variant: 1}}"), "6:21",
         "400 rows"),
    Case("until after the end", GEN + item("{kind: outage, at: 1, until: 401}"), "6:27", "400"),
    Case("until before at", GEN + item("{kind: outage, at: 9, until: 5}"), "6:5", "after at"),
    Case("drift until before at",
         GEN + item("{kind: concept, at: 9, until: 9, to: {variant: 1}}"), "6:5", "after at"),
    Case("abrupt with over",
         GEN + item("{kind: concept, at: 9, over: 5, shape: abrupt, to: {variant: 1}}"), "6:5",
         "over: 0"),
    Case("gradual without over",
         GEN + item("{kind: concept, at: 9, shape: gradual, to: {variant: 1}}"), "6:5", "over"),
    Case("recurring without period",
         GEN + item("{kind: concept, at: 9, shape: recurring, to: {variant: 1}}"), "6:5", "period"),
    Case("two changes",
         GEN + item("{kind: concept, at: 9, relabel: {a: b}, to: {variant: 1}}"), "6:5", "one of"),
    Case("mix above 1", GEN + item('{kind: prior, at: 9, mix: {"0": 0.7, "1": 0.7}}'), "6:5",
         "more than 1"),
    Case("mix of no such label", GEN + item('{kind: prior, at: 9, mix: {"7": 0.7}}'), "6:32",
         "no label '7'"),
    Case("relabel of no such label",
         GEN + item('{kind: concept, at: 9, relabel: {"0": "1", "7": "1"}}'), "6:48",
         "no label '7'"),
    Case("mix of a file", FILE + item("{kind: prior, at: 9, mix: {maybe: 1.0}}"), "8:32",
         "'maybe'"),
    Case("scale a category",
         FILE + item("{kind: covariate, at: 9, columns: {c: {scale: 2}}}"), "8:44", "categorical"),
    Case("mix a number",
         FILE + item("{kind: covariate, at: 9, columns: {x: {mix: {a: 0.5}}}}"), "8:44", "numeric"),
    Case("no such column",
         FILE + item("{kind: covariate, at: 9, columns: {xx: {scale: 2}}}"), "8:40",
         "no column xx"),
    Case("column mix above 1",
         FILE + item("{kind: covariate, at: 9, columns: {c: {mix: {r: 0.9, g: 0.9}}}}"), "8:44",
         "more than 1"),
    Case("a huge scale that overflows",
         FILE + item("{kind: covariate, at: 9, columns: {x: {scale: 1e999}}}"), "8:44", ""),
    Case("relabel numbers", NUMBERS + item("{kind: concept, at: 9, relabel: {a: b}}"), "9:28",
         "regression"),
    Case("prior of numbers", NUMBERS + item("{kind: prior, at: 9, mix: {a: 1}}"), "9:6",
         "regression"),
    Case("shift classes", FILE + item("{kind: concept, at: 9, shift: {scale: 2}}"), "8:28",
         "classification"),
    Case("classes of numbers", NUMBERS + "detectors: [{kind: ddm}]\n", "8:14", "regression"),
    Case("by a category",
         FILE + item("{kind: concept, at: 9, over: 5, shape: incremental, by: c, "
                     "relabel: {no: 'yes'}}"), "8:57", "categorical"),
    Case("region of no such column",
         FILE + item("{kind: concept, at: 9, relabel: {no: 'yes'}, where: {column: q, above: 1}}"),
         "8:58", "no column q"),
    Case("no such stream", GEN + item("{kind: outage, at: 1, until: 9, streams: [3]}"), "6:47",
         "no stream 3"),
    Case("swap of two kinds", FILE + item("{kind: swapped, at: 1, until: 9, columns: [x, c]}"),
         "8:51", "one kind"),
    Case("swap of one", FILE + item("{kind: swapped, at: 1, until: 9, columns: [x]}"), "8:48",
         "columns.1: is missing"),
    Case("stuck nowhere", FILE + item("{kind: stuck, at: 1, until: 9, columns: []}"), "8:36", "1"),
    Case("detector of no such column",
         FILE + "detectors: [{kind: adwin, on: features, columns: [x, q]}]\n", "7:54",
         "no column q"),
    Case("to another path",
         FILE + item("{kind: concept, at: 9, to: {path: gone.csv}}"), "8:28", "gone.csv"),
    Case("to other columns",
         FILE + item("{kind: concept, at: 9, to: {path: other.csv}}"), "8:28", "no column 'z'"),
    Case("to a shorter file",
         FILE + item("{kind: concept, at: 9, to: {path: short.csv}}"), "8:28", "20 rows"),
    Case("to what a file has not",
         FILE + item("{kind: concept, at: 9, to: {rows: [0, 5]}}"), "8:28", "path"),
    Case("to no such parameter",
         GEN + item("{kind: concept, at: 9, to: {varaint: 1}}"), "6:28", "varaint"),
    Case("to an impossible parameter",
         GEN + item("{kind: concept, at: 9, to: {variant: 99}}"), "6:28", "variant"),
    Case("to nothing", GEN + item("{kind: concept, at: 9, to: {}}"), "6:28", "empty"),
    Case("to a generator that is a list",
         GEN + item("{kind: concept, at: 9, to: {name: [sea]}}"), "6:28", ""),
]  # fmt: skip

SOURCES = [
    Case("no such file", FILE.replace("t.csv", "gone.csv"), "4:3", "no such file"),
    Case("a folder", FILE.replace("t.csv", "folder.csv"), "4:3", "folder"),
    Case("an ending", FILE.replace("t.csv", "t.txt"), "4:3", ".csv"),
    Case("an empty file", FILE.replace("t.csv", "empty.csv"), "4:3", "is empty"),
    Case("a header only", FILE.replace("t.csv", "header.csv"), "4:3", "no records"),
    Case("a binary file", FILE.replace("t.csv", "binary.csv"), "4:3", "cannot be read as CSV"),
    Case("zeros", FILE.replace("t.csv", "zeros.csv"), "4:3", "cannot be read as CSV"),
    Case("another encoding", FILE.replace("t.csv", "latin.csv"), "4:3", "cannot be read as CSV"),
    Case("columns twice", FILE.replace("t.csv", "twice.csv"), "4:3", "columns of one name"),
    Case("ragged rows", FILE.replace("t.csv", "ragged.csv"), "4:3", "cannot be read as CSV"),
    Case("semicolons", FILE.replace("t.csv", "semicolons.csv"), "5:3", "commas"),
    Case("no features", FILE.replace("t.csv", "one_label.csv"), "4:3", "no feature columns"),
    Case("no gzip", FILE.replace("t.csv", "t.csv.gz"), "4:3", "cannot be read as CSV"),
    Case("half a gzip", FILE.replace("t.csv", "cut.csv.gz"), "4:3", "cannot be read as CSV"),
    Case("no Parquet", FILE.replace("t.csv", "t.parquet"), "4:3", "cannot be read as Parquet"),
    Case("nested Parquet", FILE.replace("t.csv", "nested.parquet"), "4:3", "ignore it"),
    Case("empty Parquet", FILE.replace("t.csv", "none.parquet"), "4:3", "no records"),
    Case("no such label", FILE.replace("label: y", "label: yy"), "5:3", "did you mean 'y'?"),
    Case("ignore of no column", in_file("ignore: [c, tt]"), "6:15", "did you mean 't'?"),
    Case("time of no column", in_file("time: tt"), "6:3", "did you mean 't'?"),
    Case("columns of no column", in_file("columns: {cc: numeric}"), "6:13", "no column 'cc'"),
    Case("columns of no kind", in_file("columns: {c: text}"), "6:13", "'numeric'"),
    Case("a category as a number", in_file("columns: {c: numeric}"), "6:13", "is not a number"),
    Case("words as time", in_file("time: c"), "6:3", "is not a time"),
    Case("odd times", in_file("time: t").replace("t.csv", "odd_times.csv"), "6:3",
         "row 200 (the first is row 0), column 't'"),
    Case("the label as time", in_file("time: y"), "5:3", "time or ignored"),
    Case("classes as numbers", FILE + "labels: {task: regression}\n", "5:3", "not a number"),
    Case("numbers for classes", STREAM + "friedman, records: 400}\n", "1:1", "regression"),
    Case("limit 0", in_file("limit: 0"), "6:3", "1"),
    Case("unknown generator", STREAM + "see, records: 400}\n", "2:27", "did you mean 'sea'?"),
    Case("unknown parameter", stream("sea", "{varaint: 1}"), "2:61", "did you mean 'variant'?"),
    Case("ill-typed parameter", stream("sea", "{variant: one}"), "2:61", "whole number"),
    Case("a switch as a number", stream("sea", "{variant: true}"), "2:61", "whole number"),
    Case("impossible parameter", stream("sea", "{variant: 9}"), "2:52", "variant"),
    Case("negative count", stream("hyperplane", "{n_features: -4}"), "2:59", "-4"),
    Case("no features made", stream("hyperplane", "{n_features: 0}"), "2:59", "0"),
    Case("no records", GEN.replace("400", "0"), "2:38", "1"),
    Case("no table", SYNTH.replace("t.csv", "gone.csv"), "6:3", "no such file"),
    Case("no label in the table", SYNTH.replace("label: y", "label: q"), "5:3", "'q'"),
    Case("junk as synthesizer", SAVED.replace("saved.pkl", "junk.pkl"), "6:3",
         "not a single-table"),
    Case("no synthesizer", SAVED.replace("saved.pkl", "dict.pkl"), "6:3", "not a single-table"),
    Case("no synthesizer file", SAVED.replace("saved.pkl", "gone.pkl"), "6:3", "no such file"),
    Case("two origins", SYNTH.replace("table:", "synthesizer: a.pkl\n  table:"), "2:1", "either"),
    Case("first above rows", GEN.replace("first: 50", "first: 500"), "4:14", "400 rows"),
]  # fmt: skip
SOURCES += [
    Case("rows beyond the table", SYNTH.replace("t.csv", "t.csv\n  rows: [100, 300]"), "7:3",
         "beyond the table's 200 rows"),
    Case("rows the wrong way", SYNTH.replace("t.csv", "t.csv\n  rows: [100, 50]"), "2:1",
         "less than"),
    Case("one row", SYNTH.replace("t.csv", "t.csv\n  rows: [100]"), "7:10", "rows.1: is missing"),
]  # fmt: skip


def model(text: str) -> str:
    """Return `GEN` with another model, which stands in line 3; its keys begin at column 9."""
    return GEN.replace("{kind: catboost, iterations: 5, depth: 2}", text)


MODELS = [
    Case("no initial model", model("{kind: catboost, initial: gone.cbm}"), "3:25", "gone.cbm"),
    Case("junk as initial model", model("{kind: catboost, initial: model.cbm}"), "3:25",
         "not a CatBoost model"),
    Case("initial model's ending", model("{kind: catboost, initial: model.txt}"), "3:25", ".cbm"),
    Case("threads", model("{kind: catboost, params: {thread_count: 4}}"), "3:34", "repeated"),
    Case("a seed of its own", model("{kind: catboost, params: {random_seed: 4}}"), "3:34", "seed"),
    Case("a GPU", model("{kind: catboost, params: {task_type: GPU}}"), "3:34", "repeated"),
    Case("files", model("{kind: catboost, params: {train_dir: /tmp}}"), "3:34", "no files"),
    Case("twice iterations", model("{kind: catboost, params: {iterations: 4}}"), "3:34",
         "model.iterations"),
    Case("no such parameter", model("{kind: catboost, params: {l2_leaf_rge: 4}}"), "3:34",
         "not among the CatBoost settings"),
    Case("a loss of numbers", model("{kind: catboost, params: {loss_function: RMSE}}"), "3:34",
         "classification"),
    Case("depth 99", model("{kind: catboost, depth: 99}"), "3:25", "16"),
    Case("no factory", model("{kind: python}"), "3:1", "factory: is missing"),
    Case("a factory malformed", model("{kind: python, factory: mine.make}"), "3:23", "must match"),
    Case("a factory of no module", model("{kind: python, factory: 'bad_module_gone:make'}"),
         "3:23", "cannot import bad_module_gone"),
    Case("a factory that raises", model("{kind: python, factory: 'bad_module_raises:make'}"),
         "3:23", "RuntimeError: not today"),
    Case("a factory of no syntax", model("{kind: python, factory: 'bad_module_syntax:make'}"),
         "3:23", "SyntaxError"),
    Case("a factory that exits", model("{kind: python, factory: 'bad_module_exits:make'}"),
         "3:23", "SystemExit"),
    Case("a factory that is none", model("{kind: python, factory: 'bad_module_empty:make'}"),
         "3:23", "no function make"),
    Case("a factory of dots", model("{kind: python, factory: '..:make'}"), "3:23", ""),
]  # fmt: skip
MODELS += [
    Case("junk as a pickle",
         model("{kind: python, factory: 'collections:deque', initial: junk.pkl}"), "3:53",
         "cannot be unpickled"),
    Case("a pickle of no model",
         model("{kind: python, factory: 'collections:deque', initial: dict.pkl}"), "3:53",
         "without predict"),
]  # fmt: skip

OPTIONS = [
    Case("--set without value", GEN, "--set labels.delay", "place=value",
         ("--set", "labels.delay")),
    Case("--set without place", GEN, "--set =5", "place=value", ("--set", "=5")),
    Case("--set of no key", GEN, "--set polcy=1", "did you mean 'policy'?", ("--set", "polcy=1")),
    Case("--set of no YAML", GEN, "--set seed={", "not valid YAML", ("--set", "seed={")),
    Case("--set of dots", GEN, "--set a..b=1", "", ("--set", "a..b=1")),
    Case("--set into a number", GEN, "--set seed.a=1", "", ("--set", "seed.a=1")),
    Case("--set beyond a list", GEN, "--set detectors.9=1", "", ("--set", "detectors.9=1")),
    Case("--set into a list by name", GEN, "--set detectors.first.kind=a", "",
         ("--set", "detectors.0.kind=adwin", "--set", "detectors.first.kind=a")),
    Case("--set of a wrong type", GEN, "--set seed=x", "whole number", ("--set", "seed=x")),
    Case("--set of a key twice", GEN, "--set prices={error: 1, error: 2}", "second time",
         ("--set", "prices={error: 1, error: 2}")),
    Case("--set of an unknown file", FILE, "--set source.path=q.csv", "no such file",
         ("--set", "source.path=q.csv")),
    Case("--set of a number of thousands", GEN, f"--set seed={'1' * 5000}", "",
         ("--set", f"seed={'1' * 5000}")),
    Case("--set of an odd digit", GEN, "--set detectors.².kind=x", "",
         ("--set", "detectors.².kind=x")),
    Case("--set of deep lists", GEN, "--set seed=" + "[" * 1200, "",
         ("--set", "seed=" + "[" * 1200)),
    Case("--set of control letters", GEN, "--set seed=\\x07", "", ("--set", "seed=\x07")),
    Case("--policy of nothing", GEN, "--policy ", "policy", ("--policy", "")),
    Case("--policy unknown", GEN, "--policy adwn", "did you mean 'adwin'?", ("--policy", "adwn")),
    Case("--policy of no YAML", GEN, "--policy {kind: every", "YAML", ("--policy", "{kind: every")),
    Case("--policy with no such key", GEN, "--policy {kind: every, record: 1}", "'records'",
         ("--policy", "{kind: every, record: 1}")),
    Case("--policy that is a list", GEN, "--policy [adwin]", "", ("--policy", "[adwin]")),
    Case("--seed below 0", GEN, "--seed -4", "0", ("--seed", "-4")),
    Case("--seed in words", GEN, "--seed x", "whole number", ("--seed", "x")),
    Case("--seed of a fraction", GEN, "--seed 1.5", "whole number", ("--seed", "1.5")),
    Case("--workers 0", GEN, "Error: Invalid value for '--workers'", "", ("--workers", "0")),
    Case("--batch-size x", GEN, "Error: Invalid value for '--batch-size'", "",
         ("--batch-size", "x")),
    Case("no such option", GEN, "Error: No such option '--sed'. (Did you mean one of", "",
         ("--sed", "4")),
]  # fmt: skip

CASES = [*DOCUMENTS, *KEYS, *VALUES, *SCRIPTS, *SOURCES, *MODELS, *OPTIONS]


def refused(answer: Answer) -> str:
    """Assert that an answer is a refusal in one line, and return the line."""
    lines = answer.err.splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1 and answer.err.endswith("\n"), answer.err
    assert len(lines[0]) < 3000, "a message is for reading"
    assert "Traceback" not in lines[0] and "pydantic" not in lines[0]
    assert lines[0].isprintable(), "nothing that a terminal would obey"
    return lines[0]


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the factories of other tests' folders."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("bad_module")]:
        del sys.modules[name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_one_line(case: Case, tmp_path: Path) -> None:
    write_data(tmp_path)
    path, out = tmp_path / "bad.yaml", tmp_path / "runs" / "bad"
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    line = refused(driftline("run", path, "--out", out, *case.options))
    if case.options:
        place = case.place.replace("\x07", "\\x07")
        assert line[:500] == f"{place}: {line[len(place) + 2 :]}"[:500]
    else:
        assert re.match(rf"{re.escape(str(path))}:\d+:\d+: ", line), line
        assert line.startswith(f"{path}:{case.place}"), line
        assert refused(driftline("check", path)) == line
    assert case.words in line, line
    assert not out.exists() and not out.parent.exists()


def test_what_is_no_scenario_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path, words in ((tmp_path / "gone.yaml", "no such"), (tmp_path, "directory")):
        for answer in (driftline("run", path, "--out", out), driftline("check", path)):
            assert refused(answer).startswith(f"{path}:1:1: ") and words in answer.err
    assert not out.exists()


def test_yaml_is_1_2(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        GEN + "detectors: [{kind: adwin, on: error}]\npolicy: {kind: adwin, queue: true}\n"
    )
    assert driftline("check", path).code == 0


def test_check_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GEN)
    bad.write_text("")
    answer = driftline("check", bad, good)
    assert answer.code == 2
    assert str(good) in answer.out and str(bad) in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("gone.csv", "--label", "y"), "no such file"),
        (("empty.csv", "--label", "y"), "empty"),
        (("header.csv", "--label", "y"), "no records"),
        (("binary.csv", "--label", "y"), "cannot be read"),
        (("latin.csv", "--label", "y"), "cannot be read"),
        (("t.csv", "--label", "yy"), "did you mean 'y'?"),
        (("t.parquet", "--label", "y"), "cannot be read as Parquet"),
        (("t.txt", "--label", "y"), "must end in"),
        (("one_label.csv", "--label", "y"), "no feature columns"),
    ],
)
def test_init_refuses_bad_tables(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    line = refused(driftline("init", *words, "--out", "new.yaml"))
    assert told in line
    assert not Path("new.yaml").exists()


# --- scenarios that somebody mistyped -------------------------------------------------------

JUNK = ("", "~", "-1", "1e309", ".nan", "[]", "{}", "yes", "'", '"', "&a", "*a", "!!x y", "0x", "é")
FUZZED = ("elec2_heatwave", "outage_and_missing", "friedman_regression")


def drop(lines: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(lines))
    return lines[:at] + lines[at + 1 :]


def double(lines: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(lines))
    return [*lines[:at], lines[at], *lines[at:]]


def switch(lines: list[str], chance: random.Random) -> list[str]:
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    swapped = list(lines)
    swapped[a], swapped[b] = lines[b], lines[a]
    return swapped


def replace_value(lines: list[str], chance: random.Random) -> list[str]:
    text = "\n".join(lines)
    found = chance.choice(list(re.finditer(r"(?<=: )[^\s,{}\[\]]+", text)))
    return (text[: found.start()] + chance.choice(JUNK) + text[found.end() :]).split("\n")


def truncate(lines: list[str], chance: random.Random) -> list[str]:
    text = "\n".join(lines)
    return text[: chance.randrange(len(text))].split("\n")


def insert(lines: list[str], chance: random.Random) -> list[str]:
    text = "\n".join(lines)
    at = chance.randrange(len(text))
    letters = "".join(
        chr(chance.choice((*range(128), 233, 8232))) for _ in range(chance.randint(1, 3))
    )
    return (text[:at] + letters + text[at:]).split("\n")


MUTATIONS: tuple[Callable[[list[str], random.Random], Any], ...] = (
    drop, double, switch, replace_value, replace_value, truncate, insert,
)  # fmt: skip


@pytest.mark.parametrize("name", FUZZED)
def test_no_mutation_of_a_scenario_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    (tmp_path / "data").symlink_to(ROOT / "scenarios" / "data")
    lines = (ROOT / "scenarios" / f"{name}.yaml").read_text("utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    codes = []
    for number in range(50):
        path = tmp_path / f"{number}.yaml"
        mutated = chance.choice(MUTATIONS)(lines, chance)
        path.write_text("\n".join(mutated) + "\n", "utf-8")
        answer = driftline("check", path)  # an exception that is no refusal is raised here
        codes.append(answer.code)
        if answer.code:
            assert refused(answer).startswith(f"{path}:"), (mutated, answer)
    assert set(codes) == {0, 2}, "some mutations do no harm, some do"
