// Cells of the table of runs: made of elements with texts, never of HTML.
"use strict";
window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};
window.dashAgGridFunctions = window.dashAgGridFunctions || {};

const words = { green: "pays off", amber: "look", red: "failed", grey: "open" };

dashAgGridComponentFunctions.Chip = (props) => {
  const { state, verdict, kind } = props.data;
  const text = state === "damaged" ? "damaged" : state === "growing" ? "running" : state === "stopped" ? "stopped" : kind === "bench" ? "benchmark" : words[verdict];
  return React.createElement("span", { className: `chip chip-${verdict}` }, text);
};

dashAgGridComponentFunctions.RunLink = (props) => {
  const { kind, key, streams } = props.data;
  const href = kind === "bench" ? `/bench?run=${key}` : streams > 1 ? `/streams?run=${key}` : `/replay?runs=${key}`;
  return React.createElement(window.dash_core_components.Link, { href, className: "run-link" }, props.value);
};

const rank = { red: 0, amber: 1, grey: 2, green: 3 };
dashAgGridFunctions.verdictOrder = (one, other) => rank[one] - rank[other];
