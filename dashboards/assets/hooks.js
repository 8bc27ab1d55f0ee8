// What Dash calls in the browser; each function is named in dashboards/app.py.
"use strict";
window.dl = window.dl || {};
window.dash_clientside = window.dash_clientside || {};

const same = () => window.dash_clientside.no_update;
const triggered = () => {
  const by = window.dash_clientside.callback_context.triggered;
  return by && by.length ? by[0].prop_id.split(".")[0] : "";
};

window.dash_clientside.driftline = {
  // --- light and dark
  boot() {
    const asked = new URLSearchParams(location.search).get("theme");
    let kept = null;
    try { kept = localStorage.getItem("driftline-theme"); } catch { /* none is kept */ }
    const chosen = [asked, kept].find((one) => one === "light" || one === "dark");
    if (asked === chosen && chosen) document.documentElement.dataset.chosen = chosen;
    return chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  },
  paint(theme) {
    if (!theme) return same();
    document.documentElement.dataset.theme = theme;
    document.body.dataset.agThemeMode = theme;
    return theme;
  },
  flip() {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.chosen = theme;
    try { localStorage.setItem("driftline-theme", theme); } catch { /* then not */ }
    dl.address.save();
    return theme;
  },
  help: () => true,

  // --- the replay
  load(data) {
    if (data) dl.player.load(data);
    return same();
  },
  // One question at a time: the answer lets the next one be asked.
  ask(asked) {
    if (!asked) return same();
    dl.state.asking = Date.now();
    dl.set("tick", { disabled: true });
    return same();
  },
  cells(cells) {
    if (cells) dl.cells(cells);
    return same();
  },
  drawn(figure) {
    const stage = document.getElementById("stage");
    const meta = figure && figure.layout && figure.layout.meta;
    if (stage && meta) stage.style.minHeight = `${meta.high}px`;
    if (figure) dl.stage.legend(figure.data);
    dl.stage.attach();
    requestAnimationFrame(() => dl.stage.place(true));
    return same();
  },
  seek(value) {
    if (dl.state.dragging && value !== Math.floor(dl.state.at)) {
      if (dl.state.playing) dl.player.pause();
      dl.player.seek(value);
    }
    return same();
  },
  pace(value) {
    dl.state.speed = Number(value);
    dl.address.save();
    return same();
  },
  peek(value) {
    dl.state.peek = Boolean(value);
    dl.player.show();
    dl.address.save();
    return same();
  },
  explained() {
    requestAnimationFrame(dl.log.wait);
    return same();
  },
  filter(value) {
    dl.state.kind = value;
    dl.log.show(true);
    return same();
  },
  arrange(mode, stream) {
    if (dl.state.stream && dl.state.stream !== stream) dl.state.selected = null;
    Object.assign(dl.state, { mode, stream });
    dl.address.save();
    return same();
  },
  press(clicks) {
    if (!clicks) return same();
    const act = {
      play: dl.player.toggle,
      previous: () => dl.player.step(-1),
      next: () => dl.player.step(1),
      "to-start": () => dl.player.seek(0),
      "to-end": () => dl.player.seek(dl.state.last),
    }[triggered()];
    if (act) act();
    return same();
  },
  save(clicks) {
    if (clicks) dl.saving[triggered()]?.();
    return same();
  },

  // --- tables
  search: (text) => ({ ...(dl.options || {}), quickFilterText: text || "" }),
  choose(rows) {
    const runs = (rows || []).filter((row) => row.kind === "run" && row.state !== "damaged");
    return [runs.length < 1 || runs.length > 6, runs.length !== 2];
  },
  go(replay, compare, rows) {
    const by = triggered();
    const keys = (rows || []).filter((row) => row.kind === "run").map((row) => row.key);
    if (!keys.length || !by.startsWith("go-")) return same();
    return `/${by === "go-replay" ? "replay" : "compare"}?runs=${keys.join(",")}`;
  },
  csv: (clicks) => (clicks ? true : same()),
};

// The slider moves the playhead only while a hand is on it, so that playing does not answer itself.
document.addEventListener("pointerdown", (event) => {
  if (event.target.closest && event.target.closest(".slider")) dl.state.dragging = true;
}, true);
document.addEventListener("pointerup", () => {
  setTimeout(() => { dl.state.dragging = false; }, 150);
}, true);
document.addEventListener("keydown", (event) => {
  if (event.target.closest && event.target.closest(".slider")) {
    dl.state.dragging = true;
    setTimeout(() => { dl.state.dragging = false; }, 150);
  }
}, true);
