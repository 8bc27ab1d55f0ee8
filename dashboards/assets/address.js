// The address: what is looked at, so that a link opens the same view.
"use strict";
window.dl = window.dl || {};

dl.address = {
  // Takes playhead, range, speed and selected event from the address.
  restore() {
    const asked = new URLSearchParams(location.search);
    const number = (name) => (/^\d+(\.\d+)?$/.test(asked.get(name) || "") ? Number(asked.get(name)) : null);
    const state = dl.state;
    state.at = number("at");
    state.range = number("from") !== null && number("to") > number("from") ? [number("from"), number("to")] : null;
    state.peek = asked.get("peek") === "1";
    dl.set("peek", { checked: state.peek });
    const speed = ["0.25", "0.5", "1", "2", "4", "8"].includes(asked.get("speed")) ? asked.get("speed") : "1";
    state.speed = Number(speed);
    dl.set("speed", { value: speed });
    const [run, event] = (asked.get("event") || "").split(".").map(Number);
    if (state.runs[run] && Number.isInteger(event)) setTimeout(() => dl.player.select(run, event), 0);
    const graph = dl.stage.graph();
    if (graph && graph.dataset.heard && state.range) {
      dl.stage.range(...state.range);
      state.range = null;
    }
  },

  // Writes the view into the address, a moment after it last changed.
  save() {
    clearTimeout(dl.address.waiting);
    dl.address.waiting = setTimeout(dl.address.write, 250);
  },

  write() {
    if (location.pathname !== "/replay" || !dl.state.runs.length || dl.state.range) return;
    const state = dl.state;
    const asked = new URLSearchParams(location.search);
    const put = (name, value) => (value === null || value === undefined ? asked.delete(name) : asked.set(name, value));
    const zoomed = dl.stage.zoomed();
    put("runs", state.runs.map((run) => run.key).join(","));
    put("stream", state.stream || asked.get("stream"));
    put("mode", state.runs.length > 1 ? state.mode || asked.get("mode") : null);
    put("at", state.edge ? null : Math.floor(state.at));
    put("from", zoomed && zoomed[0]);
    put("to", zoomed && zoomed[1]);
    put("speed", state.speed === 1 ? null : state.speed);
    put("peek", state.peek ? "1" : null);
    put("event", state.selected ? `${state.selected.run}.${state.selected.event}` : null);
    put("theme", document.documentElement.dataset.chosen || null);
    const text = `/replay?${asked.toString().replaceAll("%2C", ",")}`;
    if (text !== location.pathname + location.search) history.replaceState(history.state, "", text);
  },
};
