"use strict";
// Draws the figures.  Text from the run reaches the page, here and in the other scripts, as text nodes alone.

const NARROW = window.matchMedia("(max-width: 40rem)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

function make(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  for (const child of children) node.append(child); // strings become text nodes
  return node;
}

function literal(text) {
  const node = make("span", "literal", text);
  node.dir = "auto"; // right-to-left text runs its own way
  return node;
}

const decimal = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));
const share = (value) => (value === null ? "–" : `${Math.round(100 * value)}%`);

function select(name, options) {
  const box = make("select");
  box.id = `browser-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
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

// Choose an option of a select, or the first if it is not there.
function choose(box, value) {
  box.value = value;
  if (box.selectedIndex < 0) box.selectedIndex = 0;
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

drawFigures();
for (const query of [NARROW, DARK]) query.addEventListener("change", drawFigures);
