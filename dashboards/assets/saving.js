// What can be taken away: a picture, the numbers, a link.
"use strict";
window.dl = window.dl || {};

dl.download = (name, href) => {
  const link = Object.assign(document.createElement("a"), { download: name, href });
  document.body.append(link);
  link.click();
  link.remove();
};

// A cell of a CSV file; a text that a spreadsheet would take for a formula is quoted away.
dl.cell = (value) => {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

dl.csv = () => {
  const head = ["run", "stream", "record", "time", "error", "baseline", "window_error", "window_baseline", "cum_error", "cum_baseline"];
  const rows = [head];
  for (const run of dl.state.runs) {
    const lanes = run.lanes;
    lanes.cum_error.forEach((_, at) => {
      const end = Math.min((at + 1) * lanes.bin, lanes.records) - 1;
      rows.push([run.name, run.stream, end, lanes.time[at], ...head.slice(4).map((name) => lanes[name][at])]);
    });
  }
  return rows.map((row) => row.map(dl.cell).join(",")).join("\n") + "\n";
};

dl.saving = {
  "save-csv"() {
    const link = URL.createObjectURL(new Blob([dl.csv()], { type: "text/csv" }));
    dl.download("driftline-lanes.csv", link);
    setTimeout(() => URL.revokeObjectURL(link), 1000);
  },

  // The picture shows what the page shows: nothing after the playhead, unless ahead is shown.
  async "save-png"() {
    const graph = dl.stage.graph();
    const box = dl.stage.box();
    if (!graph || !box) return;
    const style = getComputedStyle(document.documentElement);
    const [paper, ink] = [style.getPropertyValue("--paper").trim(), style.getPropertyValue("--ink").trim()];
    const at = Math.floor(dl.state.at) + 0.5;
    const cover = { type: "rect", xref: "x", yref: "paper", x0: at, x1: Math.max(box.to, at), y0: 0, y1: 1.002, line: { width: 0 }, fillcolor: paper, opacity: dl.state.peek ? 0.6 : 1, layer: "above" };
    const needle = { type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1, line: { color: ink, width: 1.5 } };
    const more = at < box.to ? [cover, needle] : [];
    const margin = { ...graph.layout.margin, t: 34 };
    const layout = { ...graph.layout, margin, showlegend: true, paper_bgcolor: paper, shapes: [...(graph.layout.shapes || []), ...more] };
    const size = { width: graph.clientWidth, height: graph.clientHeight };
    const link = await Plotly.toImage({ data: graph.data, layout }, { format: "png", scale: 2, ...size });
    dl.download("driftline.png", link);
  },

  async "copy-link"() {
    dl.address.write();
    const button = document.querySelector("#copy-link .mantine-Button-label");
    try {
      await navigator.clipboard.writeText(location.href);
      if (button) button.textContent = "Copied";
    } catch {
      if (button) button.textContent = "See address bar";
    }
    setTimeout(() => { if (button) button.textContent = "Copy link"; }, 1500);
  },
};
