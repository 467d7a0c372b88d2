"use strict";
// What the traces of a question would weigh under another rule.  varcore computed the log weights of every rule; here
// they are looked up and shared out, so that a trace that is dropped leaves its weight to the others.

const EXPONENT_NAMES = { 0: "0: π/q is ignored", "1/|z|": "1/|z|: the paper's", 1: "1: the exact weight" };

const sum = (values) => values.reduce((total, value) => total + value, 0);

// Softmax of log weights, null being a weight of zero, and the log of their mean over `count` traces.
function shareOut(logs, count) {
  const largest = logs.reduce((most, log) => (log === null ? most : Math.max(most, log)), -Infinity);
  const shares = logs.map((log) => (log === null ? 0 : Math.exp(log - largest)));
  const total = sum(shares);
  if (total === 0) return { weights: shares, bound: -Infinity };
  return { weights: shares.map((share) => share / total), bound: largest + Math.log(total / count) };
}

// The first trace whose cumulative weight exceeds the cut, a share of the whole.
function drawn(weights, cut) {
  const limit = cut * sum(weights);
  let reached = 0;
  return weights.findIndex((weight) => (reached += weight) > limit);
}

function effective(weights) {
  const squares = sum(weights.map((weight) => weight ** 2));
  return squares > 0 ? sum(weights) ** 2 / squares : 0;
}

class Explorer {
  constructor(grid, redraw) {
    this.grid = grid;
    this.redraw = redraw;
    this.dropped = new Set();
    this.exponent = make("input");
    Object.assign(this.exponent, { type: "range", min: 0, max: grid.exponents.length - 1, step: 1, id: "explorer-exponent" });
    this.chosen = make("output");
    this.estimator = select("Estimator of π(Y|x,z)", []);
    this.selection = select("Selection", grid.selections.map((name) => [name, name]));
    this.summary = make("dl", "summary");
    this.summary.setAttribute("role", "status");
    this.leftOut = make("p", "note");
    this.panel = make("div", "explorer");
    this.root = make("div", "", this.panel, this.leftOut);
    this.build();
  }

  build() {
    const label = make("label", "", "Exponent of π/q");
    label.htmlFor = this.exponent.id;
    const slider = make("div", "control slider", make("span", "", label, ": ", this.chosen), this.exponent);
    const again = make("button", "", "Start again");
    again.type = "button";
    again.addEventListener("click", () => this.reset());
    for (const input of [this.exponent, this.estimator.box, this.selection.box]) input.addEventListener("input", this.redraw);
    this.panel.append(
      make("h3", "", "Weigh these traces by another rule"),
      make("div", "controls", slider, this.estimator.wrapper, this.selection.wrapper, again),
      this.summary,
      make("p", "note", `This run's own rule: ${this.grid.own}. Where it gave another weight, the weight column says so.`),
    );
    this.toStart();
  }

  toStart() {
    this.dropped.clear();
    this.exponent.value = this.grid.start.exponent;
    for (const name of ["estimator", "selection"]) choose(this[name].box, this.grid.start[name]);
  }

  reset() {
    this.toStart();
    this.redraw();
  }

  // The question of this source whose traces are shown; nothing to explore if it is not scored.
  use({ estimators, questions, left_out }, index) {
    const before = this.estimator.box.value || this.grid.start.estimator;
    fill(this.estimator.box, estimators.map((name) => [name, name]));
    choose(this.estimator.box, before);
    this.question = questions[index] ?? null;
    this.dropped.clear();
    this.panel.hidden = this.question === null;
    this.leftOut.textContent = left_out;
  }

  keep(index, kept) {
    if (kept) this.dropped.delete(index);
    else this.dropped.add(index);
    this.redraw();
  }

  // The traces as the rule weighs them.
  weigh(traces) {
    if (this.question === null) return traces;
    const frames = this.question[this.estimator.box.value]; // none if every trace is broken
    const broken = new Set(this.question.broken);
    const absent = (k) => (broken.has(k) ? "left out: NaN" : this.dropped.has(k) ? "dropped" : "");
    const logs = traces.map((_, k) => (absent(k) ? null : frames.logs[this.exponent.value][k]));
    const count = logs.length - traces.filter((_, k) => absent(k)).length;
    const { weights, bound } = shareOut(logs, count);
    const kept = this.select(weights, frames);
    this.report(effective(weights), bound, count, broken.size, frames);
    return traces.map((trace, k) => ({
      ...trace,
      weight: kept[k],
      recorded: trace.weight,
      flags: frames?.flags[k] ?? [],
      note: absent(k) || (weights[k] > kept[k] ? "not selected" : ""),
      broken: broken.has(k),
    }));
  }

  select(weights, frames) {
    const rule = this.selection.box.value;
    if (rule === "soft" || sum(weights) === 0) return weights;
    const again = { argmax: () => weights.indexOf(Math.max(...weights)), resample: () => drawn(weights, this.grid.cut) };
    const index = this.dropped.size ? again[rule]() : frames[rule][this.exponent.value];
    return weights.map((_, k) => (k === index ? 1 : 0));
  }

  report(size, bound, count, broken, frames) {
    const exponent = this.grid.exponents[this.exponent.value];
    this.chosen.textContent = EXPONENT_NAMES[exponent] ?? exponent;
    this.exponent.setAttribute("aria-valuetext", this.chosen.textContent);
    const kind = exponent === "1" ? "a bound on log p(x), from one draw of traces" : "a bound on log p(x) at exponent 1 only";
    const mean = bound === -Infinity ? "−∞: no trace has weight under this rule" : `${decimal(bound, 3)} nats, ${kind}`;
    const facts = [
      ["effective traces", `${size.toFixed(2)} of ${count.toLocaleString("en")}`],
      ["Pareto k-hat", this.tail(frames, count)],
      ["log mean weight", mean],
    ];
    if (broken) facts.push(["left out", `${broken} of the traces, for NaN among their log-probabilities`]);
    this.summary.replaceChildren(...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
  }

  tail(frames, count) {
    if (count < this.grid.fewest) return `needs ${this.grid.fewest} traces`;
    if (this.dropped.size) return "not fitted again while traces are dropped";
    const fitted = frames.tails[this.exponent.value];
    if (fitted === null) return "no fit: too many weights are equal or zero";
    return `${decimal(fitted, 2)}${fitted > 0.7 ? ": weighted means are not to be trusted" : ""}`;
  }
}
