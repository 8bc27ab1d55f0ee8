// The small pictures of many streams: made here, because a hundred of them as components of Dash
// take the browser three seconds.
"use strict";
window.dl = window.dl || {};

dl.cells = (cells) => {
  const place = document.getElementById("streams");
  if (!place) return;
  place.replaceChildren(...cells.map((cell) => {
    const made = Object.assign(document.createElement("a"), { className: "cell", href: cell.href });
    const parts = ["cell-name", "", "cell-numbers"].map((className) => Object.assign(document.createElement("div"), { className }));
    const [name, drawn, numbers] = parts;
    name.title = `${cell.stream}: ${cell.told}`;
    dl.put(name, [["span", "", `dot dot-${cell.verdict}`], ["span", cell.short]]);
    drawn.append(Object.assign(document.createElement("img"), { src: cell.picture, alt: "" }));
    dl.put(numbers, [["strong", cell.error], ["span", `never ${cell.never}`]]);
    made.append(...parts);
    return made;
  }));
};

// A plain click stays within the page; any other does what the browser does with links.
document.addEventListener("click", (event) => {
  const cell = event.target.closest && event.target.closest("a.cell");
  if (!cell || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  dash_clientside.set_props("url", { href: cell.getAttribute("href") });
});
