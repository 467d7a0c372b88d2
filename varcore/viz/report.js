"use strict";
// Draws the figures and runs the trace browser.  Text from the run reaches the page through textContent alone.

const NARROW = window.matchMedia("(max-width: 40rem)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

function make(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  for (const child of children) node.append(child); // strings become text nodes
  return node;
}

// ---------------------------------------------------------------------------------------------------- figures

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { ink: read("--ink"), line: read("--line"), card: read("--card") };
}

function dressed(shape) {
  const { ink, line, card } = colours();
  const { data, layout } = structuredClone(shape);
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", autosize: true });
  layout.font = { ...layout.font, color: ink };
  layout.hoverlabel = { ...layout.hoverlabel, bgcolor: card, bordercolor: line, font: { ...layout.font, size: 12 } };
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis/.test(name)) Object.assign(layout[name], { gridcolor: line, linecolor: line });
  }
  for (const trace of data) {
    if (trace.error_x) trace.error_x.color = ink;
  }
  return { data, layout };
}

function drawFigures() {
  for (const figure of document.querySelectorAll("figure")) {
    const wide = figure.querySelector('[data-shape="wide"]');
    const narrow = NARROW.matches && figure.querySelector('[data-shape="narrow"]');
    const { data, layout } = dressed(JSON.parse((narrow || wide).textContent));
    const plot = figure.querySelector(".plot");
    plot.style.height = `${layout.height}px`;
    Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true, scrollZoom: false });
  }
}

// ---------------------------------------------------------------------------------------------- trace browser

const COLUMNS = [
  { name: "#", key: (t) => t.index, cell: (t) => String(t.index), number: true },
  { name: "trace", key: (t) => t.text, cell: traceCell, kind: "text" },
  { name: "tokens", key: (t) => t.tokens, cell: (t) => String(t.tokens), number: true },
  { name: "log π − log q", key: (t) => t.ratio, cell: (t) => decimal(t.ratio, 2), number: true },
  { name: "worst token", key: (t) => t.worst, cell: (t) => decimal(t.worst, 2), number: true },
  { name: "correct", key: (t) => (t.answers ? t.correct / t.answers : t.correct), cell: correctCell, number: true },
  { name: "weight", key: (t) => t.weight, cell: weightCell, number: true, kind: "weight" },
  { name: "hint copied", key: (t) => t.copied, cell: (t) => share(t.copied), number: true },
  { name: "flags", key: (t) => t.flags.join(), cell: flagCell },
  { name: "answers", key: (t) => t.given.map((g) => g[0]).join(), cell: answerCell, kind: "given" },
];

const decimal = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
const share = (value) => (value === null ? "–" : `${Math.round(100 * value)}%`);
const isEmpty = (trace) => trace.text.trim() === "";
const solved = (traces) => traces.filter((trace) => trace.correct > 0).length;
const weighed = (traces) => traces.some((trace) => trace.weight !== null);
const weightless = (traces) => weighed(traces) && traces.every((trace) => !trace.weight);

function effective(traces) {
  const total = traces.reduce((sum, trace) => sum + trace.weight, 0);
  const squares = traces.reduce((sum, trace) => sum + trace.weight ** 2, 0);
  return squares > 0 ? total ** 2 / squares : 0;
}

function traceCell(trace) {
  const text = isEmpty(trace) ? make("span", "empty", "(empty trace)") : make("span", "literal", trace.text);
  return trace.closed ? text : make("span", "", text, " ", make("span", "chip bad", "cut off, not closed"));
}

function correctCell(trace) {
  if (trace.correct === null) return "–";
  return trace.answers ? `${trace.correct}/${trace.answers}` : "no answer";
}

function weightCell(trace) {
  if (trace.weight === null) return "–";
  const cell = make("span", "", trace.weight === 0 ? "0" : trace.weight.toPrecision(3));
  const bar = make("span", "bar");
  bar.style.width = `${100 * Math.min(1, trace.weight)}%`;
  if (trace.weight > 0) cell.append(bar);
  return cell;
}

function flagCell(trace) {
  const cell = make("span");
  for (const flag of trace.flags) cell.append(make("span", "chip bad", flag));
  if (trace.chosen) cell.append(make("span", "chip good", "trained on"));
  return cell;
}

function answerCell(trace) {
  const cell = make("span");
  for (const [text, verdict, count] of trace.given) {
    const mark = make("span", "verdict", `${verdict}${count > 1 ? ` × ${count}` : ""}`);
    mark.classList.add(verdict);
    cell.append(make("div", "", make("span", "literal", text === "" ? "(empty)" : text), " ", mark));
  }
  return cell;
}

function select(name, options) {
  const box = make("select");
  box.id = `browser-${name.toLowerCase().replaceAll(" ", "-")}`;
  const label = make("label", "", name);
  label.htmlFor = box.id;
  const wrapper = make("div", "control", label, box);
  fill(box, options);
  return { box, wrapper };
}

function fill(box, options) {
  box.replaceChildren(
    ...options.map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      return option;
    }),
  );
}

const OUTCOMES = {
  all: ["any outcome", () => true],
  solved: ["at least one correct answer", (traces) => solved(traces) > 0],
  unsolved: ["no correct answer", (traces) => solved(traces) === 0],
  weightless: ["no usable trace", weightless],
  open: ["a trace that was cut off", (traces) => traces.some((trace) => !trace.closed)],
};

class Browser {
  constructor(root, data) {
    this.data = data;
    this.sort = { column: 0, direction: 1 };
    const levels = [...new Set(data.questions.map((question) => question.level))].sort((a, b) => a - b);
    this.source = select("Traces drawn by", data.sources.map((source, i) => [i, source.label]));
    this.level = select("Level", [["", "all levels"], ...levels.map((level) => [level, `level ${level}`])]);
    this.outcome = select("Outcome", Object.entries(OUTCOMES).map(([name, [text]]) => [name, text]));
    this.question = select("Question", []);
    this.back = make("button", "", "←");
    this.next = make("button", "", "→");
    this.view = make("div");
    this.view.setAttribute("aria-live", "polite");
    this.build(root);
    this.list();
  }

  build(root) {
    for (const [button, name, step] of [[this.back, "Previous question", -1], [this.next, "Next question", 1]]) {
      button.type = "button";
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => this.step(step));
    }
    for (const filter of [this.source, this.level, this.outcome]) filter.box.addEventListener("change", () => this.list());
    this.question.box.addEventListener("change", () => this.show());
    const filters = make("div", "controls", this.source.wrapper, this.level.wrapper, this.outcome.wrapper);
    root.append(filters, make("div", "controls", this.question.wrapper, this.back, this.next), this.view);
  }

  traces(index) {
    return this.data.sources[this.source.box.value].traces[index];
  }

  list() {
    const before = this.question.box.value;
    const wanted = OUTCOMES[this.outcome.box.value][1];
    const options = this.data.questions
      .map((question, index) => [question, index])
      .filter(([question]) => !this.level.box.value || String(question.level) === this.level.box.value)
      .filter(([, index]) => wanted(this.traces(index)))
      .map(([question, index]) => [index, `${question.text.slice(0, 90)} · level ${question.level} · ${this.outcomeOf(index)}`]);
    fill(this.question.box, options);
    this.question.box.disabled = options.length === 0;
    if (options.some(([index]) => String(index) === before)) this.question.box.value = before;
    this.show();
  }

  outcomeOf(index) {
    const traces = this.traces(index);
    if (traces.some((trace) => trace.correct === null)) return `${traces.length} traces`;
    return `${solved(traces)} of ${traces.length} traces lead to a correct answer`;
  }

  step(by) {
    this.question.box.selectedIndex += by;
    this.show();
  }

  show() {
    const { box } = this.question;
    this.back.disabled = box.selectedIndex <= 0;
    this.next.disabled = box.selectedIndex >= box.options.length - 1;
    if (box.value === "") {
      this.view.replaceChildren(make("p", "missing", "No question on this page fits these filters."));
      return;
    }
    const traces = this.traces(box.value);
    this.view.replaceChildren(this.card(this.data.questions[box.value], traces), this.table(traces));
  }

  card(question, traces) {
    const facts = make("dl");
    const fact = (name, ...value) => facts.append(make("dt", "", name), make("dd", "", ...value));
    fact("reference answer", make("span", "literal", question.reference));
    fact("different correct answers", question.answers === null ? "not counted" : String(question.answers));
    fact("level", String(question.level));
    if (weighed(traces)) fact("effective traces", `${effective(traces).toFixed(1)} of ${traces.length}`);
    const card = make("div", "question", make("p", "literal asked", question.text), facts);
    for (const warning of warnings(traces)) card.append(make("p", "notice", warning));
    return card;
  }

  table(traces) {
    const head = make("tr");
    COLUMNS.forEach((column, index) => head.append(this.header(column, index)));
    const body = make("tbody");
    for (const trace of this.sorted(traces)) body.append(row(trace));
    const table = make("table", "", make("caption", "", "Traces of this question"), make("thead", "", head), body);
    const region = make("div", "scroll", table);
    region.tabIndex = 0;
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "Traces of this question");
    return region;
  }

  header(column, index) {
    const active = this.sort.column === index;
    const arrow = active ? (this.sort.direction > 0 ? " ↑" : " ↓") : "";
    const button = make("button", "", column.name + arrow);
    button.type = "button";
    button.addEventListener("click", () => {
      this.sort = { column: index, direction: active ? -this.sort.direction : column.number && index ? -1 : 1 };
      this.show();
      this.view.querySelectorAll("thead button")[index].focus();
    });
    const cell = make("th", column.number ? "number" : "", button);
    cell.scope = "col";
    if (active) cell.setAttribute("aria-sort", this.sort.direction > 0 ? "ascending" : "descending");
    return cell;
  }

  sorted(traces) {
    const { key } = COLUMNS[this.sort.column];
    return [...traces].sort((a, b) => compare(key(a), key(b), this.sort.direction) || a.index - b.index);
  }
}

// What is missing stands last in either direction.
function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  return direction * (a < b ? -1 : a > b ? 1 : 0);
}

function row(trace) {
  const line = make("tr", trace.weight === 0 ? "weightless" : "");
  COLUMNS.forEach((column, index) => {
    const cell = make(index ? "td" : "th", `${column.number ? "number" : ""} ${column.kind ?? ""}`.trim(), column.cell(trace));
    if (!index) cell.scope = "row";
    line.append(cell);
  });
  return line;
}

function warnings(traces) {
  const found = [];
  const judged = traces.every((trace) => trace.correct !== null);
  if (judged && solved(traces) === 0) found.push("Unsolved: none of these traces led to a correct answer.");
  if (weightless(traces)) found.push(`No usable trace: all ${traces.length} weights are zero, so this question trains nothing.`);
  const cut = traces.filter((trace) => !trace.closed).length;
  if (cut) found.push(`${cut} of ${traces.length} traces were cut off by the length limit before they closed.`);
  const empty = traces.filter(isEmpty).length;
  if (empty) found.push(`${empty} of ${traces.length} traces are empty: the answer follows at once.`);
  return found;
}

drawFigures();
for (const query of [NARROW, DARK]) query.addEventListener("change", drawFigures);
const data = document.getElementById("browser-data");
if (data) new Browser(document.getElementById("browser"), JSON.parse(data.textContent));
