// The numbers at the playhead; the same as figures_at in dashboards/lanes.py, and tested against it.
"use strict";
window.dl = window.dl || {};

// The newest bin that is over at a record; -1 if none is.
dl.lastBin = (lanes, seq) => {
  const whole = Math.ceil(lanes.records / lanes.bin);
  return seq >= lanes.records - 1 ? whole - 1 : Math.floor((seq + 1) / lanes.bin) - 1;
};

// The value of the newest [record, value] at or before a record.
dl.newest = (steps, seq) => {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle][0] <= seq) low = middle + 1;
    else high = middle;
  }
  return low ? steps[low - 1][1] : null;
};

dl.driftAt = (lanes, seq) => {
  const begun = lanes.drifts.filter((drift) => drift.seq <= seq);
  if (!begun.length) return { drift: null, delay: null, detection: null, lost: null };
  const start = Math.max(...begun.map((drift) => drift.seq));
  const here = begun.filter((drift) => drift.seq === start);
  const complete = Math.max(...here.map((drift) => start + drift.over));
  const found = here[0].found;
  const known = found !== null && found <= seq;
  const open = seq <= complete + lanes.scoring_window;
  const [before, at] = [dl.lastBin(lanes, start - 1), dl.lastBin(lanes, seq)];
  let lost = null;
  if (before >= 0 && lanes.window_error[before] !== null) {
    const scored = lanes.scored[at] - lanes.scored[before];
    lost = lanes.cum_error[at] - lanes.cum_error[before] - lanes.window_error[before] * scored;
  }
  return {
    drift: start, delay: (known ? found : seq) - start,
    detection: known ? "found" : open ? "open" : "missed", lost,
  };
};

dl.figuresAt = (lanes, seq) => {
  const at = dl.lastBin(lanes, seq);
  const errors = at >= 0 ? lanes.cum_error[at] : 0;
  const jobs = lanes.jobs.filter((job) => !job.first && job.asked <= seq);
  const retrains = jobs.length;
  const trials = jobs.reduce((sum, job) => sum + (job.trials || 0), 0);
  const reused = lanes.returns.filter((one) => one.kind === "reused" && one.seq <= seq).length;
  const { retrain, trial = 0, reuse = 0 } = lanes.prices;
  const spent = retrains * retrain + trials * trial + reused * reuse;
  return {
    error_now: at >= 0 ? lanes.window_error[at] : null,
    baseline_now: at >= 0 ? lanes.window_baseline[at] : null,
    errors,
    baseline_errors: at >= 0 ? lanes.cum_baseline[at] : 0,
    model: dl.newest(lanes.model, seq),
    ...dl.driftAt(lanes, seq),
    false_alarms: lanes.truth_known ? dl.newest(lanes.false_alarms, seq) || 0 : null,
    retrains,
    spent,
    cost: errors * lanes.prices.error + spent,
  };
};

dl.numbers = {
  // Name of a number, its heading, and what the heading means.
  SHOWN: [
    ["error_now", "Error now", "Mean of the newest 500 scored records"],
    ["baseline_now", "If never", "The same of the first model: if nothing had ever been retrained"],
    ["delay", "Delay so far", "Records from the newest scripted drift to its first alarm, or to now"],
    ["false_alarms", "False alarms", "Alarms that belong to no scripted drift"],
    ["lost", "Lost to drift", "Errors since the newest drift beyond those at the rate before it"],
    ["spent", "Spent on retrains", "Retrains asked for, at their price"],
    ["cost", "Cost so far", "Errors and retrains, at their prices"],
    ["model", "Champion", "Number of the model that answers"],
  ],

  error(run, value) {
    if (value === null || value === undefined) return "–";
    return run.lanes.task === "regression" ? Number(value).toPrecision(3) : dl.share(value);
  },

  text(run, name, found) {
    const value = found[name];
    if (name === "error_now" || name === "baseline_now") return dl.numbers.error(run, value);
    if (value === null) return "–";
    if (name === "model") return `model ${value}`;
    if (name === "delay") return `${dl.whole(value)}${{ open: " …", missed: " missed", found: "" }[found.detection]}`;
    return dl.whole(value);
  },

  // Makes the cells; their texts follow the playhead.
  load() {
    const place = document.getElementById("numbers");
    if (!place) return;
    const several = dl.state.runs.length > 1;
    place.classList.toggle("several", several);
    const made = (tag, name, text) => {
      const one = document.createElement(tag);
      one.className = name;
      one.textContent = text;
      return one;
    };
    const columns = dl.numbers.SHOWN.map(([name, head, means]) => {
      const cell = made("div", `number number-${name}`, "");
      cell.title = means;
      cell.append(made("div", "head", head));
      dl.state.runs.forEach((_, at) => {
        const value = made("div", "value", "–");
        value.dataset.run = at;
        value.dataset.name = name;
        cell.append(value);
      });
      return cell;
    });
    if (several) {
      const names = made("div", "number number-run", "");
      names.append(made("div", "head", "Run"));
      dl.state.runs.forEach((run, at) => names.append(made("div", `value run run-${at}`, run.name)));
      columns.unshift(names);
    }
    place.replaceChildren(...columns);
  },

  show() {
    const seq = Math.floor(dl.state.at);
    const found = dl.state.runs.map((run) => dl.figuresAt(run.lanes, seq));
    for (const value of document.querySelectorAll("#numbers .value[data-name]")) {
      const { run, name } = value.dataset;
      if (!dl.state.runs[run]) continue;
      const text = dl.numbers.text(dl.state.runs[run], name, found[run]);
      if (value.textContent !== text) value.textContent = text;
      if (name === "error_now") {
        const { error_now: own, baseline_now: never } = found[run];
        value.dataset.side = own === null || never === null || own === never ? "" : own < never ? "better" : "worse";
      }
    }
  },
};
