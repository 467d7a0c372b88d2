"use strict";
// The traces of a question as a table that can be sorted, filtered and walked through.

const MOST_ROWS = 400; // of a question with more traces, the first in the chosen order

const isEmpty = (trace) => trace.text.trim() === "";
const solved = (traces) => traces.filter((trace) => trace.correct > 0).length;
const weighed = (traces) => traces.some((trace) => trace.weight !== null);
const weightless = (traces) => weighed(traces) && traces.every((trace) => !trace.weight);

const OUTCOMES = {
  all: ["any outcome", () => true],
  solved: ["at least one correct answer", (traces) => solved(traces) > 0],
  unsolved: ["no correct answer", (traces) => traces.length > 0 && solved(traces) === 0],
  weightless: ["no usable trace", weightless],
  open: ["a trace that was cut off", (traces) => traces.some((trace) => !trace.closed)],
};

class Browser {
  constructor(root, data) {
    this.data = data;
    this.sort = { name: "#", direction: 1 };
    this.opened = new Set(); // traces whose token heat map is open
    this.explorer = new Explorer(data.controls, () => this.refresh());
    const levels = [...new Set(data.questions.map((question) => question.level))].sort((a, b) => a - b);
    this.source = select("Traces drawn by", data.sources.map((source, i) => [i, source.label]));
    this.level = select("Level", [["", "all levels"], ...levels.map((level) => [level, `level ${level}`])]);
    this.outcome = select("Outcome", Object.entries(OUTCOMES).map(([name, [text]]) => [name, text]));
    this.question = select("Question", []);
    this.back = make("button", "", "←");
    this.next = make("button", "", "→");
    this.card = make("div");
    this.card.setAttribute("aria-live", "polite");
    this.view = make("div");
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
    root.append(filters, make("div", "controls", this.question.wrapper, this.back, this.next));
    root.append(this.card, this.explorer.root, this.view);
  }

  get from() {
    return this.data.sources[this.source.box.value];
  }

  traces(index) {
    return this.from.traces[index];
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
    if (traces.length === 0) return "no traces";
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
    this.opened.clear();
    this.explorer.root.hidden = box.value === "";
    if (box.value === "") {
      this.card.replaceChildren(make("p", "missing", "No question on this page fits these filters."));
      this.view.replaceChildren();
      return;
    }
    this.explorer.use(this.from.explorer, box.value);
    this.card.replaceChildren(card(this.data.questions[box.value], this.traces(box.value)));
    this.refresh();
  }

  // The table again, under the explorer's rule; what had the focus keeps it, and the table its place.
  refresh() {
    const { key } = document.activeElement.dataset;
    const left = this.view.firstChild?.scrollLeft ?? 0;
    const traces = this.explorer.weigh(this.traces(this.question.box.value));
    this.view.replaceChildren(...(traces.length ? this.table(traces) : []));
    if (traces.length) this.view.firstChild.scrollLeft = left;
    if (key) this.view.querySelector(`[data-key="${key}"]`)?.focus();
  }

  toggle(index) {
    if (!this.opened.delete(index)) this.opened.add(index);
    this.refresh();
  }

  table(traces) {
    const columns = COLUMNS.filter((column) => !column.explored || this.explorer.question);
    const head = make("tr", "", ...columns.map((column) => this.header(column)));
    const body = make("tbody");
    for (const trace of this.sorted(traces).slice(0, MOST_ROWS)) {
      body.append(this.row(trace, columns));
      if (this.opened.has(trace.index)) body.append(heatRow(trace, this.data.words, columns.length));
    }
    const opens = traces.some(isColoured) ? " The number of a trace, or a click on its row, opens its tokens." : "";
    const caption = make("caption", "", make("span", "", "Traces of this question.", make("span", "note", opens)));
    const table = make("table", "", caption, make("thead", "", head), body);
    const region = make("div", "scroll", table);
    region.tabIndex = 0;
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "Traces of this question");
    const more = traces.length - MOST_ROWS;
    const text = `${more.toLocaleString("en")} more traces are not listed; they have their share of the weight. Another order lists others.`;
    return more > 0 ? [region, make("p", "note", text)] : [region];
  }

  header(column) {
    const active = this.sort.name === column.name;
    const arrow = active ? (this.sort.direction > 0 ? " ↑" : " ↓") : "";
    const button = make("button", "", column.name + arrow);
    button.type = "button";
    button.dataset.key = `sort-${column.name}`;
    button.addEventListener("click", () => {
      const first = column.number && column.name !== "#" ? -1 : 1;
      this.sort = { name: column.name, direction: active ? -this.sort.direction : first };
      this.refresh();
    });
    const cell = make("th", column.number ? "number" : "", button);
    cell.scope = "col";
    if (active) cell.setAttribute("aria-sort", this.sort.direction > 0 ? "ascending" : "descending");
    return cell;
  }

  row(trace, columns) {
    const line = make("tr", trace.weight === 0 ? "weightless" : "");
    columns.forEach((column, index) => {
      const kind = `${column.number ? "number" : ""} ${column.kind ?? ""}`.trim();
      const cell = make(index ? "td" : "th", kind, column.cell(trace, this));
      if (!index) cell.scope = "row";
      line.append(cell);
    });
    if (isColoured(trace)) {
      line.classList.add("opens");
      line.addEventListener("click", (event) => {
        const marking = !getSelection().isCollapsed; // text is being selected, not a trace chosen
        if (!marking && !event.target.closest("button, input")) this.toggle(trace.index);
      });
    }
    return line;
  }

  sorted(traces) {
    const { key } = COLUMNS.find((column) => column.name === this.sort.name);
    return [...traces].sort((a, b) => compare(key(a), key(b), this.sort.direction) || a.index - b.index);
  }
}

function card(question, traces) {
  const facts = make("dl");
  const fact = (name, ...value) => facts.append(make("dt", "", name), make("dd", "", ...value));
  fact("reference answer", literal(question.reference));
  fact("different correct answers", question.answers === null ? "not counted" : String(question.answers));
  fact("level", String(question.level));
  const asked = literal(question.text);
  asked.classList.add("asked");
  const box = make("div", "question", make("p", "", asked), facts);
  for (const warning of warnings(traces)) box.append(make("p", "notice", warning));
  return box;
}

function warnings(traces) {
  if (traces.length === 0) return ["This question has no traces from this source."];
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

const payload = document.getElementById("browser-data");
if (payload) new Browser(document.getElementById("browser"), JSON.parse(payload.textContent));
