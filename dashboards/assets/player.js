// The playhead: where it is, how it moves, and who is told. Nothing here asks the server.
"use strict";
window.dl = window.dl || {};

dl.SECONDS = 60; // how long a whole run takes at speed 1
dl.PATIENCE_MS = 10000; // how long it waits for news of a growing run before it asks anew
dl.TICK_MS = 100; // how often numbers, log and slider follow while it plays

dl.state = {
  runs: [], last: 0, at: null, playing: false, speed: 1, peek: false, kind: "all",
  selected: null, dragging: false, edge: false, kept: 0, asking: 0, frames: 0, ticks: 0, asked: "",
};

// Changes a component, if the page has it; some are no elements, but come with another.
const WITH = { selected: "stage", help: "page", tick: "stage" };
dl.set = (id, props) => {
  if (document.getElementById(WITH[id] || id)) dash_clientside.set_props(id, props);
};

dl.player = {
  // Takes in what the server sent: lanes of one or several runs.
  load(data) {
    const state = dl.state;
    const asked = data.runs.map((run) => run.key).join();
    const fresh = state.asked !== asked;
    const was = state.last;
    state.runs = data.runs;
    state.asking = 0;
    state.last = Math.max(0, ...data.runs.map((run) => run.lanes.records - 1));
    state.growing = data.runs.some((run) => run.state === "growing");
    state.heard = fresh ? 1000 * Math.max(...data.runs.map((run) => run.changed)) : Date.now();
    dl.log.load();
    dl.numbers.load();
    if (fresh) {
      state.asked = asked;
      state.playing = false;
      state.selected = null;
      dl.address.restore();
      if (state.at === null) state.at = state.last;
      state.edge = state.at >= state.last;
    } else if (state.edge) {
      state.at = state.last;
    } else {
      if (state.at < was) state.kept = state.at;
      state.at = state.kept; // back to there after a live run that goes on has begun anew
    }
    state.at = Math.min(Math.max(state.at, 0), state.last);
    dl.set("slider", { max: Math.max(state.last, 1), value: Math.floor(state.at) });
    dl.player.show(true);
    dl.live();
  },

  // Moves the playhead to a record.
  seek(at) {
    const state = dl.state;
    state.at = Math.min(Math.max(at, 0), state.last);
    state.edge = state.at >= state.last;
    dl.player.show();
    dl.address.save();
  },

  toggle() {
    if (dl.state.playing) dl.player.pause();
    else dl.player.play();
  },

  play() {
    const state = dl.state;
    if (!state.runs.length) return;
    if (state.at >= state.last && !state.growing) state.at = 0;
    state.playing = true;
    state.before = null;
    dl.player.button();
    requestAnimationFrame(dl.player.frame);
  },

  pause() {
    dl.state.playing = false;
    dl.player.button();
    dl.player.show();
    dl.address.save();
  },

  button() {
    const icon = document.querySelector("#play .icon");
    if (icon) icon.className = `icon icon-${dl.state.playing ? "pause" : "play"}`;
  },

  frame(now) {
    const state = dl.state;
    if (!state.playing || !document.getElementById("stage")) return;
    if (state.before !== null) {
      const seconds = Math.min((now - state.before) / 1000, 0.5);
      state.at = Math.min(state.at + (seconds * state.speed * (state.last + 1)) / dl.SECONDS, state.last);
    }
    state.before = now;
    state.edge = state.at >= state.last;
    if (state.edge && !state.growing) {
      dl.player.pause();
      return;
    }
    state.frames += 1;
    dl.stage.place();
    if (now >= (state.due || 0)) {
      state.due = Math.max((state.due || now) + dl.TICK_MS, now - dl.TICK_MS);
      dl.player.tell();
    }
    requestAnimationFrame(dl.player.frame);
  },

  // Draws the playhead and all that follows it, at most once a frame.
  show(all) {
    const state = dl.state;
    if (state.waiting) return;
    state.waiting = true;
    requestAnimationFrame(() => {
      state.waiting = false;
      dl.stage.place(all);
      dl.player.tell();
    });
  },

  tell() {
    const state = dl.state;
    if (!state.runs.length || !document.getElementById("stage")) return;
    state.ticks += 1;
    dl.numbers.show();
    dl.log.show();
    dl.log.wait();
    if (!state.dragging) dl.set("slider", { value: Math.floor(state.at) });
    const place = document.getElementById("position");
    if (place) {
      const seq = Math.floor(state.at);
      dl.put(place, [
        ["strong", dl.whole(seq)],
        ["span", ` of ${dl.whole(state.last)}`],
        ["time", dl.when(state.runs[0].lanes, seq)],
      ]);
    }
  },

  // Steps to the previous (-1) or next (1) event of those that the log shows.
  step(way) {
    const at = Math.floor(dl.state.at);
    const seqs = dl.log.seqs();
    const to = way > 0 ? seqs.find((seq) => seq > at) : seqs.filter((seq) => seq < at).pop();
    dl.state.playing = false;
    dl.player.button();
    if (to !== undefined) {
      dl.player.seek(to);
      dl.stage.reveal(to);
    }
  },

  faster(way) {
    const speeds = ["0.25", "0.5", "1", "2", "4", "8"];
    const to = speeds[speeds.indexOf(String(dl.state.speed)) + way];
    if (to) dl.set("speed", { value: to });
  },

  // Explains an event: run by its place, event by its number.
  select(run, event) {
    const one = dl.state.runs[run];
    if (!one || event === null || event === undefined) return;
    const found = one.lanes.events.find((each) => each.i === event);
    dl.state.selected = { run, event };
    if (found && found.seq > dl.state.at) dl.player.seek(found.seq);
    dl.set("selected", { data: { run: one.key, stream: one.stream, event } });
    dl.set("side-tabs", { value: "why" });
    dl.player.show(true);
    dl.log.show(true);
    dl.address.save();
  },
};

// --- small things ---------------------------------------------------------------------------

const digits = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
dl.whole = (value) => (value === null || value === undefined ? "–" : digits.format(value).replace("-", "−"));
dl.share = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)}%`);

// The time of a record, as its bin has it.
dl.when = (lanes, seq) => {
  const text = lanes.time[Math.min(Math.floor(seq / lanes.bin), lanes.time.length - 1)];
  return text ? text.slice(0, 16).replace("T", " ") : "";
};

// Fills an element with [tag, text, class, attributes]: texts of a run are never parsed.
dl.put = (element, parts) => {
  element.replaceChildren(...parts.map(([tag, text, name, more]) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (name) made.className = name;
    for (const [key, value] of Object.entries(more || {})) made.setAttribute(key, value);
    return made;
  }));
};

// Says how fresh a growing run is.
dl.live = () => {
  const place = document.getElementById("live");
  const state = dl.state;
  if (!place || !state.runs.length) return;
  const ago = Math.max(0, Math.round((Date.now() - state.heard) / 1000));
  const since = ago < 90 ? `${ago} s` : ago < 5400 ? `${Math.round(ago / 60)} min` : `${Math.round(ago / 3600)} h`;
  const stopped = state.runs.some((run) => run.state === "stopped");
  const kind = state.growing ? "growing" : stopped ? "stopped" : "finished";
  const told = { growing: `live, last heard ${since} ago`, stopped: "stopped before its end", finished: "finished" };
  if (place.dataset.kind !== kind || kind === "growing") {
    place.dataset.kind = kind;
    dl.put(place, [["span", "", "dot"], ["span", told[kind]]]);
  }
};
setInterval(() => {
  dl.live();
  if (dl.state.asking && Date.now() - dl.state.asking > dl.PATIENCE_MS) {
    dl.state.asking = 0; // no answer came: the server may be back
    dl.set("tick", { disabled: false });
  }
}, 1000);
