"use strict";
const { plots, templates } = JSON.parse(document.getElementById("data").textContent);
const boxes = [...document.querySelectorAll(".plot")];
const drawn = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };
const PRINTED = 960; // pixels, of which page.css makes a page of A4

function draw(box, width) {
  const { data, layout } = plots[box.id];
  const template = templates[dark.matches && !width ? "dark" : "light"];
  const size = width ? { width, autosize: false } : { autosize: true };
  drawn.add(box);
  Plotly.react(box, data, { ...layout, ...size, template }, config);
}

// A figure is drawn when it is nearly in sight, so that the page opens at once.
const watch = new IntersectionObserver(
  (seen) =>
    seen.filter((one) => one.isIntersecting).forEach(({ target }) => {
      watch.unobserve(target);
      draw(target);
    }),
  { rootMargin: "600px" },
);
boxes.forEach((box) => watch.observe(box));

dark.addEventListener("change", () => drawn.forEach((box) => draw(box)));
addEventListener("beforeprint", () => boxes.forEach((box) => draw(box, PRINTED)));
addEventListener("afterprint", () => boxes.forEach((box) => draw(box)));

// Another price shows other tracks; what the reader switched on or off in a legend stays so.
document.querySelector("select")?.addEventListener("change", (event) => {
  for (const { data } of Object.values(plots)) {
    const tracks = data.filter((trace) => trace.meta);
    const switched = {};
    for (const trace of tracks) {
      if (trace.visible !== false) switched[trace.mode + trace.name] = trace.visible;
    }
    for (const trace of tracks) {
      const now = trace.meta.includes(event.target.value);
      trace.visible = now && (switched[trace.mode + trace.name] ?? true);
    }
  }
  drawn.forEach((box) => draw(box));
});
