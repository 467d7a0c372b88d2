"use strict";
// The table of a question's traces: its columns, and the token heat map that a row opens.

const COLUMNS = [
  { name: "#", key: (t) => t.index, cell: indexCell, number: true },
  { name: "keep", key: (t) => Number(t.note === "dropped"), cell: keepCell, explored: true },
  { name: "trace", key: (t) => t.text, cell: traceCell, kind: "text" },
  { name: "tokens", key: (t) => t.tokens, cell: (t) => String(t.tokens), number: true },
  { name: "log π − log q", key: (t) => t.ratio, cell: (t) => decimal(t.ratio, 2), number: true, kind: "nats" },
  { name: "worst token", key: (t) => t.worst, cell: (t) => decimal(t.worst, 2), number: true },
  { name: "correct", key: (t) => (t.answers ? t.correct / t.answers : t.correct), cell: correctCell, number: true },
  { name: "weight", key: (t) => t.weight, cell: weightCell, number: true, kind: "weight" },
  { name: "hint copied", key: (t) => t.copied, cell: (t) => share(t.copied), number: true },
  { name: "flags", key: (t) => t.flags.join(), cell: flagCell },
  { name: "answers", key: (t) => t.given.map((g) => g[0]).join(), cell: answerCell, kind: "given" },
];

// A button that opens the trace's token heat map, where there is one.
function indexCell(trace, browser) {
  if (!isColoured(trace)) return String(trace.index);
  const button = make("button", "open", String(trace.index));
  button.type = "button";
  button.dataset.key = `open-${trace.index}`;
  button.setAttribute("aria-label", `Tokens of trace ${trace.index}`);
  button.setAttribute("aria-expanded", String(browser.opened.has(trace.index)));
  button.addEventListener("click", () => browser.toggle(trace.index));
  return button;
}

function keepCell(trace, browser) {
  const box = make("input");
  Object.assign(box, { type: "checkbox", checked: !trace.broken && trace.note !== "dropped", disabled: trace.broken });
  box.dataset.key = `keep-${trace.index}`;
  box.setAttribute("aria-label", `Keep trace ${trace.index}`);
  box.addEventListener("change", () => browser.explorer.keep(trace.index, box.checked));
  return box;
}

function traceCell(trace) {
  const text = isEmpty(trace) ? make("span", "empty", "(empty trace)") : literal(trace.text);
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
  if (trace.note) cell.append(make("span", "aside", trace.note));
  if (trace.recorded != null && Math.abs(trace.recorded - trace.weight) > 5e-4) {
    cell.append(make("span", "aside", `in the run ${trace.recorded.toPrecision(3)}`));
  }
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
    cell.append(make("div", "", literal(text === "" ? "(empty)" : text), " ", mark));
  }
  return cell;
}

// What is missing stands last in either direction.
function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  return direction * (a < b ? -1 : a > b ? 1 : 0);
}

// ------------------------------------------------------------------------------------------------ token heat map

const isColoured = (trace) => trace.words !== null || (trace.ratio === 0 && !trace.worst);

function signed(ratio) {
  if (typeof ratio === "string") return ratio; // not a finite number
  return `${ratio > 0 ? "▲\u00a0+" : ratio < 0 ? "▼\u00a0−" : "=\u00a0"}${Math.abs(ratio).toFixed(2)}`;
}

function heatMap(trace, words) {
  const box = make("div", "heat", make("p", "note", heatCaption(trace)));
  if (!trace.words?.length) return box;
  const size = Math.max(...trace.ratios.map((ratio) => Math.abs(ratio) || 0)) || 1;
  const line = make("p", "tokens");
  line.dir = "auto"; // by its words: what stands in a bdi does not decide
  trace.words.forEach((word, place) => {
    const ratio = trace.ratios[place];
    const text = make("span", "word", words[word]);
    const token = make("span", `token ${ratio > 0 ? "up" : ratio < 0 ? "down" : ""}`.trim(), text, " ", make("bdi", "ratio", signed(ratio)));
    token.style.setProperty("--share", `${Math.round((100 * Math.abs(ratio)) / size) || 0}%`);
    line.append(token);
  });
  box.append(line);
  return box;
}

function heatCaption(trace) {
  if (trace.tokens === 0) return "This trace has no tokens: there is nothing to colour.";
  if (trace.words === null) return "The reasoner drew this trace itself: log π − log q is zero on every token.";
  const total = trace.ratio === null ? "not a number" : signed(trace.ratio);
  const cut = trace.tokens - trace.words.length;
  const more = cut > 0 ? ` The last ${cut.toLocaleString("en")} of ${trace.tokens.toLocaleString("en")} tokens are not on this page.` : "";
  return `Under each token log π − log q in nats: ▲ blue, the reasoner π likes it more; ▼ orange, q does. Sum: ${total}.${more}`;
}

function heatRow(trace, words, span) {
  const cell = make("td", "", heatMap(trace, words));
  cell.colSpan = span;
  return make("tr", "opened", cell);
}
