// The lanes: where a record is on the screen, what covers the future, crosshair, zoom and clicks.
"use strict";
window.dl = window.dl || {};

dl.stage = {
  graph: () => document.querySelector("#lanes .js-plotly-plot"),

  // What is needed of Plotly's axis; null while there is none.
  box() {
    const graph = dl.stage.graph();
    const full = graph && graph._fullLayout;
    if (!full || !full.xaxis || !full._size || !graph.layout.meta) return null;
    const [from, to] = full.xaxis.range.map(Number);
    const { t, h } = full._size;
    return { from, to, left: full.xaxis._offset, width: full.xaxis._length, top: t, height: h, meta: graph.layout.meta };
  },

  x: (box, seq) => box.left + ((seq - box.from) / (box.to - box.from)) * box.width,
  seq: (box, x) => box.from + ((x - box.left) / box.width) * (box.to - box.from),

  // Puts the veil and the needle where the playhead is.
  place(all) {
    const box = dl.stage.box();
    const veil = document.getElementById("veil");
    const needle = document.getElementById("needle");
    if (!box || !veil || !needle || dl.state.at === null) return;
    const right = box.left + box.width;
    const x = Math.min(Math.max(dl.stage.x(box, Math.floor(dl.state.at) + 0.5), box.left), right);
    const off = dl.state.at < box.from || dl.state.at > box.to;
    veil.style.transform = `translate(${x}px, ${box.top - 2}px)`;
    veil.style.width = `${Math.max(0, right - x + 12)}px`;
    veil.style.height = `${box.height + 3}px`;
    veil.classList.toggle("peek", dl.state.peek);
    needle.style.transform = `translate(${x}px, ${box.top - 6}px)`;
    needle.style.height = `${box.height + 8}px`;
    needle.hidden = off;
    dl.stage.pending(box);
    if (all) dl.stage.dates(box);
    dl.stage.ring(box);
  },

  // Jobs that were asked for and are not ready yet do not show their outcome.
  pending(box) {
    const stage = document.getElementById("stage");
    const open = [];
    if (!dl.state.peek) {
      for (const row of box.meta.rows.filter((one) => one.kind === "training")) {
        for (const job of dl.state.runs[row.run] ? dl.state.runs[row.run].lanes.jobs : []) {
          if (job.asked <= dl.state.at && job.ready !== null && job.ready > dl.state.at) open.push([row, job]);
        }
      }
    }
    const patches = stage.querySelectorAll(".pending");
    open.forEach(([row, job], at) => {
      const patch = patches[at] || stage.appendChild(Object.assign(document.createElement("div"), { className: "pending" }));
      const left = Math.max(dl.stage.x(box, job.asked) - 1, box.left);
      const end = Math.min(dl.stage.x(box, dl.state.at), box.left + box.width);
      const middle = box.top + (1 - (row.domain[0] + row.domain[1]) / 2) * box.height;
      const high = (row.domain[1] - row.domain[0]) * box.height * 0.3 + 3;
      patch.style.transform = `translate(${left}px, ${middle - high / 2}px)`;
      patch.style.width = `${Math.max(0, end - left)}px`;
      patch.style.height = `${high}px`;
    });
    for (let at = open.length; at < patches.length; at += 1) patches[at].remove();
  },

  // Marks the event that is explained.
  ring(box) {
    const stage = document.getElementById("stage");
    let ring = stage.querySelector(".ring");
    const chosen = dl.state.selected;
    const event = chosen && dl.state.runs[chosen.run] && dl.state.runs[chosen.run].lanes.events.find((one) => one.i === chosen.event);
    const kinds = { alarm: "alarms", drift: "drift", fault: "drift", anomaly: "anomalies", alert: "anomalies" };
    const row = event && box.meta.rows.find((one) => one.run === chosen.run && one.kind === (kinds[event.kind] || "training"));
    const seen = row && event.seq >= box.from && event.seq <= box.to && (dl.state.peek || event.seq <= dl.state.at);
    if (!seen) {
      if (ring) ring.remove();
      return;
    }
    ring = ring || stage.appendChild(Object.assign(document.createElement("div"), { className: "ring" }));
    const y = box.top + (1 - (row.domain[0] + row.domain[1]) / 2) * box.height;
    ring.style.transform = `translate(${dl.stage.x(box, event.seq) - 9}px, ${y - 9}px)`;
  },

  // Says which times the left and the right edge are.
  dates(box) {
    const place = document.getElementById("dates");
    if (!place || !dl.state.runs.length) return;
    const lanes = dl.state.runs[0].lanes;
    place.style.left = `${box.left}px`;
    place.style.width = `${box.width}px`;
    const last = Math.min(box.to, lanes.records - 1);
    dl.put(place, [["span", dl.when(lanes, Math.max(0, box.from))], ["span", dl.when(lanes, Math.max(0, last))]]);
  },

  // Follows the pointer with one line through all lanes, and says what they are there.
  cross(event) {
    const box = dl.stage.box();
    const line = document.getElementById("cross");
    const readout = document.getElementById("readout");
    if (!line || !readout) return;
    const x = box && event ? event.clientX - document.getElementById("stage").getBoundingClientRect().left : -1;
    const seq = box ? Math.round(dl.stage.seq(box, x)) : -1;
    const inside = box && x >= box.left && x <= box.left + box.width && seq >= 0 && seq <= dl.state.last;
    if (!inside || (seq > dl.state.at && !dl.state.peek)) {
      line.style.display = readout.style.display = "none";
      return;
    }
    line.style.display = readout.style.display = "block";
    line.style.transform = `translate(${x}px, ${box.top}px)`;
    line.style.height = `${box.height}px`;
    const first = dl.state.runs[0];
    const parts = [["span", `${dl.whole(seq)} · ${dl.when(first.lanes, seq)}`]];
    dl.state.runs.forEach((run, at) => {
      const bin = Math.floor(seq / run.lanes.bin);
      const error = run.lanes.window_error[bin];
      parts.push(["b", dl.numbers.error(run, error), `run run-${at}`]);
    });
    const never = first.lanes.window_baseline[Math.floor(seq / first.lanes.bin)];
    parts.push(["span", `never ${dl.numbers.error(first, never)}`]);
    dl.put(readout, parts);
  },

  // Zooms (factor < 1: in) around the playhead, or another record.
  zoom(factor, around) {
    const box = dl.stage.box();
    if (!box) return;
    const whole = dl.state.last + 1;
    const middle = around ?? (dl.state.at >= box.from && dl.state.at <= box.to ? dl.state.at : (box.from + box.to) / 2);
    const span = Math.min(Math.max((box.to - box.from) * factor, 20), whole);
    const share = (middle - box.from) / (box.to - box.from);
    dl.stage.range(middle - share * span, middle - share * span + span);
  },

  pan(share) {
    const box = dl.stage.box();
    if (box) dl.stage.range(box.from + share * (box.to - box.from), box.to + share * (box.to - box.from));
  },

  // Shows the records from `from` to `to`, and no emptiness beyond the ends.
  range(from, to) {
    const graph = dl.stage.graph();
    if (!graph) return;
    const span = Math.min(to - from, Math.max(dl.state.last, 1));
    const start = Math.min(Math.max(from, 0), Math.max(dl.state.last, 1) - span);
    Plotly.relayout(graph, { "xaxis.range": [start, start + span] });
  },

  whole: () => dl.stage.range(0, dl.state.last),

  // Pans so that a record is in sight.
  reveal(seq) {
    const box = dl.stage.box();
    if (!box || (seq >= box.from && seq <= box.to)) return;
    const half = (box.to - box.from) / 2;
    dl.stage.range(seq - half, seq + half);
  },

  zoomed() {
    const box = dl.stage.box();
    return box && (box.from > 0.5 || box.to < dl.state.last - 0.5) ? [Math.round(box.from), Math.round(box.to)] : null;
  },

  // The event at a place of the screen, or null: marks are small, so a few pixels beside will do.
  hit(box, x, y) {
    const share = 1 - (y - box.top) / box.height;
    const row = box.meta.rows.find((one) => share >= one.domain[0] - 0.004 && share <= one.domain[1] + 0.004);
    const run = row && dl.state.runs[row.run];
    if (!run) return null;
    const kinds = {
      alarms: ["alarm"], drift: ["drift", "fault"], anomalies: ["anomaly", "alert", "stream_failed"],
      training: ["promoted", "rejected", "job_failed", "reused", "rollback", "decision", "job_started"],
      champion: ["promoted", "reused", "rollback"],
    }[row.kind];
    let best = null;
    let reach = 9;
    for (const event of kinds ? run.lanes.events : []) {
      const far = Math.abs(dl.stage.x(box, event.seq) - x);
      const seen = dl.state.peek || event.seq <= dl.state.at;
      if (seen && kinds.includes(event.kind) && far < reach) [best, reach] = [event, far];
    }
    return best && { run: row.run, event: best.i };
  },

  // Names the lines above the lanes; a click hides or shows one.
  legend(data) {
    const place = document.getElementById("legend");
    if (!place) return;
    const named = data.map((trace, at) => [trace, at]).filter(([trace]) => trace.line && trace.showlegend !== false);
    named.sort(([one], [other]) => (one.legendrank || 0) - (other.legendrank || 0));
    place.replaceChildren(...named.map(([trace, at]) => {
      const one = document.createElement("button");
      one.type = "button";
      one.setAttribute("aria-pressed", "true");
      const sample = document.createElement("i");
      sample.style.borderTop = `2px ${trace.line.dash === "solid" ? "solid" : "dashed"} ${trace.line.color}`;
      one.append(sample, document.createTextNode(trace.name));
      one.addEventListener("click", () => {
        const shown = one.getAttribute("aria-pressed") === "true";
        one.setAttribute("aria-pressed", String(!shown));
        Plotly.restyle(dl.stage.graph(), { visible: !shown }, [at]);
      });
      return one;
    }));
  },

  // Listens to a graph that Plotly has just made.
  attach() {
    const graph = dl.stage.graph();
    if (!graph || !graph._fullLayout || !graph.on) {
      if (document.getElementById("stage")) requestAnimationFrame(dl.stage.attach);
      return;
    }
    if (graph.dataset.heard) return;
    graph.dataset.heard = "yes";
    graph.on("plotly_afterplot", () => dl.stage.place(true));
    graph.on("plotly_relayout", () => { dl.stage.place(true); dl.address.save(); });
    if (dl.state.range) {
      dl.stage.range(...dl.state.range);
      dl.state.range = null;
    }
    const stage = document.getElementById("stage");
    let down = null;
    stage.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; }, true);
    stage.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4;
      down = null;
      const box = dl.stage.box();
      if (!still || !box || event.target.closest(".legend")) return;
      const home = stage.getBoundingClientRect();
      const [x, y] = [event.clientX - home.left, event.clientY - home.top];
      if (x < box.left || x > box.left + box.width || y < box.top || y > box.top + box.height) return;
      const found = dl.stage.hit(box, x, y);
      if (found) dl.player.select(found.run, found.event);
      else dl.player.seek(Math.round(dl.stage.seq(box, x)));
    }, true);
    stage.addEventListener("pointermove", dl.stage.cross);
    stage.addEventListener("pointerleave", () => dl.stage.cross(null));
    stage.addEventListener("wheel", (event) => {
      const box = dl.stage.box();
      if (!box || !(event.ctrlKey || event.metaKey || event.shiftKey)) return; // else the page scrolls
      event.preventDefault();
      const x = event.clientX - stage.getBoundingClientRect().left;
      dl.stage.zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, dl.stage.seq(box, x));
    }, { passive: false });
    dl.stage.place(true);
  },
};
