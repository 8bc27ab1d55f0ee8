// The list of events beside the lanes: what has happened up to the playhead, the newest first.
"use strict";
window.dl = window.dl || {};

dl.log = {
  SHOWN: 120,
  KINDS: {
    alarms: ["alarm", "decision", "request_dropped"],
    models: ["job_started", "job_ready", "job_failed", "promoted", "rejected", "reused", "rollback"],
    truth: ["drift", "fault", "anomaly", "alert", "stream_failed"],
  },
  WORDS: {
    alarm: "alarm", decision: "decision", request_dropped: "dropped", job_started: "training",
    job_ready: "ready", job_failed: "failed", promoted: "promoted", rejected: "rejected",
    drift: "drift", fault: "fault", anomaly: "odd", alert: "alert", stream_failed: "failed",
    reused: "reused", rollback: "rollback",
  },
  all: [],
  drawn: "",

  load() {
    dl.log.all = dl.state.runs
      .flatMap((run, at) => run.lanes.events.map((event) => ({ run: at, ...event })))
      .sort((one, other) => one.seq - other.seq || one.run - other.run || one.i - other.i);
    dl.log.drawn = "";
  },

  picked() {
    const kinds = dl.log.KINDS[dl.state.kind];
    return kinds ? dl.log.all.filter((event) => kinds.includes(event.kind)) : dl.log.all;
  },

  seqs: () => [...new Set(dl.log.picked().map((event) => event.seq))],

  // How many of the events have happened by the playhead.
  count(events) {
    let [low, high] = [0, events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (events[middle].seq <= dl.state.at) low = middle + 1;
      else high = middle;
    }
    return low;
  },

  show(force) {
    const place = document.getElementById("log");
    if (!place) return;
    const events = dl.log.picked();
    const count = dl.log.count(events);
    const chosen = dl.state.selected || {};
    const mark = `${dl.state.kind} ${count} ${events.length} ${chosen.run} ${chosen.event}`;
    if (mark === dl.log.drawn && place.childElementCount && !force) return;
    dl.log.drawn = mark;
    const several = dl.state.runs.length > 1;
    const rows = events.slice(Math.max(0, count - dl.log.SHOWN), count).reverse().map((event) => {
      const row = document.createElement("button");
      row.type = "button";
      row.className = `event kind-${event.kind}${event.false ? " false" : ""}${event.calm ? " calm" : ""}`;
      if (chosen.run === event.run && chosen.event === event.i) row.classList.add("chosen");
      if (several) row.classList.add("run", `run-${event.run}`);
      row.dataset.run = event.run;
      row.dataset.event = event.i;
      dl.put(row, [
        ["span", dl.whole(event.seq), "seq"],
        ["span", event.false ? "false alarm" : event.calm ? "over" : dl.log.WORDS[event.kind] || event.kind, "word"],
        ["span", event.label, "label"],
      ]);
      return row;
    });
    if (!rows.length) {
      const hint = document.createElement("p");
      hint.className = "hint";
      hint.textContent = "Nothing has happened yet.";
      rows.push(hint);
    }
    place.replaceChildren(...rows);
    place.scrollTop = 0;
  },
};

// What the panel tells of later than the playhead waits for it.
dl.log.wait = () => {
  for (const part of document.querySelectorAll("#why [data-seq]")) {
    part.hidden = !dl.state.peek && Number(part.dataset.seq) > dl.state.at;
  }
};

document.addEventListener("click", (event) => {
  const row = event.target.closest && event.target.closest("#log .event");
  if (row) dl.player.select(Number(row.dataset.run), Number(row.dataset.event));
  const step = event.target.closest && event.target.closest("#why .step");
  if (step && dl.state.selected) dl.player.select(dl.state.selected.run, Number(step.dataset.event));
});
