"""No prediction and no decision depends on a label that is not known yet, in whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from tests.e2e.driving import driftline, events

PLANTED, DELAY = 1300, 100
SCRIPTS = {
    "none": "",
    "prior": 'script: [{kind: prior, at: 500, mix: {"1": 0.8}}]',
    "slow_prior": 'script: [{kind: prior, at: 500, over: 800, mix: {"1": 0.3}}]',
    "overlapping": """script:
  - {kind: concept, at: 900, over: 300, relabel: {"0": "1", "1": "0"}}
  - {kind: prior, at: 1200, over: 100, mix: {"1": 0.7}}
  - {kind: covariate, at: 1000, columns: {x: {scale: 2}}, correlation: {columns: [x, z], to: 0.9}}
  - {kind: out_of_order, at: 1100, until: 1600, share: 0.3, by: 50}
  - {kind: duplicates, at: 1100, until: 1400, share: 0.1}
""",
}


def outcomes_and_events(folder: Path, script: str, label: str | None) -> Any:
    """Run on 2,500 rows, one label replaced; return rows and the events as texts by seq."""
    chance = np.random.default_rng(5)
    x, z = chance.normal(size=(2, 2500))
    y = (x + 0.5 * chance.normal(size=2500) > 0.8).astype(int).astype(str)
    if label is not None:
        y[PLANTED] = label if label != "flip" else str(1 - int(y[PLANTED]))
    lines = [f"{a},{b},{c}\n" for a, b, c in zip(x, z, y, strict=True)]
    (folder / "t.csv").write_text("x,z,y\n" + "".join(lines))
    (folder / "s.yaml").write_text(f"""name: leak
source: {{kind: file, path: t.csv, label: y}}
labels: {{delay: {DELAY}}}
model: {{kind: catboost, iterations: 8, depth: 3}}
detectors:
  - {{kind: adwin, on: error, delta: 0.3}}
  - {{kind: page_hinkley, on: features, threshold: 10}}
policy: {{kind: every, records: 50}}
retraining: {{first: 200, window: 300, latency: 20, judge: {{holdout: 50}}}}
{script}
""")
    out = folder / f"run-{label}"
    answer = driftline("run", folder / "s.yaml", "--out", out)
    assert answer.code == 0, answer.err
    rows = parquet.read_table(out / "outcomes" / "leak-0000.parquet").to_pylist()
    return rows, [(event["seq"], json.dumps(event)) for event in events(out)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_planted_label_changes_nothing_before_it_is_known(name: str, tmp_path: Path) -> None:
    plain, plain_events = outcomes_and_events(tmp_path, SCRIPTS[name], None)
    known = PLANTED + DELAY - (50 if name == "overlapping" else 0)  # records may overtake it
    changes = 0
    for label in ("flip", "treasure", ""):
        rows, found = outcomes_and_events(tmp_path, SCRIPTS[name], label)
        answers = ("prediction", "score", "model", "baseline_error")
        for seq, (a, b) in enumerate(zip(plain, rows, strict=False)):
            same = all(a[key] == b[key] for key in answers[:3])
            changes += not same
            assert same or seq > known, f"row {seq} knows the label that comes at {known}"
        before = [text for seq, text in plain_events if seq < known]
        assert before == [text for seq, text in found if seq < known]
    assert changes > 0, "a label that is known matters"
