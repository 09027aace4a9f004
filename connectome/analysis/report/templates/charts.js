"use strict";
// What every page of charts does: colours, drawing, printing.

const page = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const every = (query, act) => document.querySelectorAll(query).forEach(act);
let isPrinting = false;
const isNarrow = () => window.innerWidth < 640;
root.classList.add("js");

// What the reader has chosen: of each chart one of a list, which is a stage or a condition, and one of several lists.
const state = { stage: page.n_stages - 1, measure: page.measure };

// Plotly's own markup is a kind of HTML.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Colours are named after the page's custom properties, so that charts follow it into dark mode and onto paper.

function themed(value, css) {
  if (typeof value === "string") return value.startsWith("--") ? coloured(value, css) : value;
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    const isPlain = value.length === 0 || typeof value[0] !== "object" || value[0] === null || Array.isArray(value[0]);
    return isPlain ? value : value.map((item) => themed(item, css));
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, css)]));
}

function coloured(name, css) {
  // One hue, so that it is read by lightness alone; more stands out more from the page.
  if (name === "--scale") {
    const isDark = css.colorScheme.trim() === "dark";
    const scale = ["#dcebf7", "#b5d4ec", "#84b7dd", "#4f97c9", "#2477b0", "#0d578f", "#063a66"];
    return (isDark ? scale.reverse() : scale).map((colour, i) => [i / (scale.length - 1), colour]);
  }
  return css.getPropertyValue(name).trim();
}

// Charts

const FONT = getComputedStyle(document.body).fontFamily;
const canHover = matchMedia("(hover: hover)").matches;
const PICTURE = { displaylogo: false, displayModeBar: canHover ? "hover" : false, responsive: true, modeBarButtons: [["toImage"]], toImageButtonOptions: { format: "svg" } };

function axis(given, css) {
  const line = css.getPropertyValue("--line").trim();
  const title = given && given.title ? { ...given.title, standoff: 10 } : undefined;
  return {
    gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, fixedrange: true, tickfont: { size: 13 },
    ...given, title,
  };
}

function draw(box) {
  const css = getComputedStyle(root);
  const options = page.charts[box.dataset.chart];
  const stages = options[state.measure] || options.all;
  const spec = themed(stages[Math.min(state.stage, stages.length - 1)], css);
  const layout = {
    ...spec.layout,
    font: { family: FONT, size: 14, color: css.getPropertyValue("--ink").trim() },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 12, r: 12, t: spec.layout.annotations ? 30 : 12, b: box.dataset.chart === "matrix" ? 12 : 92 },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 14 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css.getPropertyValue("--soft").trim(), activecolor: css.getPropertyValue("--ink").trim() },
    ...(isPrinting ? { width: box.clientWidth, height: box.clientHeight } : { autosize: true }),
    hoverlabel: { font: { size: 14 } },
    xaxis: axis(spec.layout.xaxis, css), yaxis: axis(spec.layout.yaxis, css),
  };
  if (box.dataset.chart === "matrix") {
    const [trace] = spec.data;
    if (box.clientWidth >= 640) layout.annotations = cellTexts(trace);
    else trace.colorbar = { ...trace.colorbar, orientation: "h", y: -0.5, title: { ...trace.colorbar.title, side: "top" } };
  }
  return Plotly.react(box, spec.data, layout, PICTURE);
}

// A cell's number, black or white, whichever is read more easily on the cell's colour.
function cellTexts(trace) {
  if (trace.x.length > 16) return [];
  const texts = [];
  trace.z.forEach((row, y) => row.forEach((z, x) => {
    if (z === null) return;
    const isLight = lightness(trace.colorscale, (z - trace.zmin) / Math.max(trace.zmax - trace.zmin, 1e-9)) > 0.179;
    texts.push({ text: trace.text[y][x], x, y, showarrow: false, font: { size: 13, color: isLight ? "#000000" : "#ffffff" } });
  }));
  return texts;
}

// Relative luminance (WCAG 2) of a place on a colour scale.
function lightness(scale, place) {
  const at = Math.max(0, Math.min(1, place)) * (scale.length - 1), low = Math.min(Math.floor(at), scale.length - 2);
  const channel = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16) / 255;
  return [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
    const value = channel(scale[low][1], i) * (low + 1 - at) + channel(scale[low + 1][1], i) * (at - low);
    return sum + share * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  }, 0);
}

function drawAll() { every("[data-chart]", draw); }

// One chart at a time, so that the page answers meanwhile.
function drawOneByOne() {
  const waiting = [...document.querySelectorAll("[data-chart]")];
  (function next() {
    const box = waiting.shift();
    if (!box) { root.dataset.ready = "yes"; return; }
    draw(box);
    setTimeout(next);
  })();
}

// Paper is light, and narrower than a screen.

window.addEventListener("beforeprint", () => {
  isPrinting = true;
  root.classList.add("printing");
  drawAll();
});
window.addEventListener("afterprint", () => {
  isPrinting = false;
  root.classList.remove("printing");
  drawAll();
});
