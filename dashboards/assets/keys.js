// The keyboard, as in Perfetto.
"use strict";
window.dl = window.dl || {};

dl.keys = {
  " ": () => dl.player.toggle(),
  ArrowLeft: (event) => (event.shiftKey ? dl.player.step(-1) : dl.player.seek(Math.floor(dl.state.at) - 1)),
  ArrowRight: (event) => (event.shiftKey ? dl.player.step(1) : dl.player.seek(Math.floor(dl.state.at) + 1)),
  Home: () => dl.player.seek(0),
  End: () => dl.player.seek(dl.state.last),
  w: () => dl.stage.zoom(0.7),
  s: () => dl.stage.zoom(1 / 0.7),
  a: () => dl.stage.pan(-0.15),
  d: () => dl.stage.pan(0.15),
  0: () => dl.stage.whole(),
  "+": () => dl.player.faster(1),
  "=": () => dl.player.faster(1),
  "-": () => dl.player.faster(-1),
  p: () => dl.set("peek", { checked: !dl.state.peek }),
};

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || !target.closest) return;
  if (target.closest("input, textarea, select, [contenteditable], .ag-root, [role=dialog]")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "?") dl.set("help", { opened: true });
  else if (key === "t") document.getElementById("theme-button")?.click();
  else if (dl.keys[key] && document.getElementById("stage") && dl.state.runs.length) {
    if (key === " " && target.closest("button, a")) return; // it presses what has the focus
    if (target.closest("[role=slider], [role=tab], [role=radiogroup]") && key.startsWith("Arrow")) return;
    dl.keys[key](event);
  } else return;
  event.preventDefault();
});
