// What every page of charts does: colours, drawing, printing. ``page`` is what there is to draw.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const every = (query, act) => document.querySelectorAll(query).forEach(act);
let isPrinting = false;
const isNarrow = () => window.innerWidth < 640;
root.classList.add("js");

// What the reader has chosen: of each chart one of a list, which is a stage or a condition, and one of several lists.
const state = { stage: page.n_stages - 1, measure: page.measure };

// Charts that are made here, by name: functions of the box that they are drawn in.
const makers = {};

const TYPES = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };
function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (character) => character.charCodeAt(0));
  return new TYPES[packed.type](bytes.buffer); // little-endian, as every browser's machine is
}

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

// One hue, so that it is read by lightness alone; more stands out more from the page.
const SCALE = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6"];

function coloured(name, css) {
  if (name === "--scale") return SCALE.map((stop, i) => [i / (SCALE.length - 1), css.getPropertyValue(stop).trim()]);
  const [own, isBand] = [name.replace(/-band$/, ""), name.endsWith("-band")];
  return css.getPropertyValue(own).trim() + (isBand ? "33" : ""); // the colours are #rrggbb
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

// Without the names for which there is no room on an axis of so many pixels.
function thinned(given, pixels) {
  if (!given || !given.tickvals || !given.range) return given;
  const span = Math.abs(given.range[1] - given.range[0]), least = (16 * span) / Math.max(pixels, 1);
  let last = -Infinity;
  const kept = given.tickvals.map((at) => {
    const isKept = at - last >= least;
    if (isKept) last = at;
    return isKept;
  });
  return { ...given, tickvals: given.tickvals.filter((_, k) => kept[k]), ticktext: given.ticktext.filter((_, k) => kept[k]) };
}

// The room that the names below a chart take, in columns as wide as the longest; a chart with many rows grows by them.
function legendHeight(spec, box) {
  const names = spec.data.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name);
  if (spec.layout.showlegend === false || !names.length) return spec.layout.showlegend === false ? 0 : 44;
  const widths = names.map((name) => 50 + 8 * name.length), across = box.clientWidth - 30;
  const isOne = widths.reduce((sum, width) => sum + width) <= across;
  const rows = isOne ? 1 : Math.ceil(names.length / Math.max(1, Math.floor(across / Math.max(...widths))));
  if (!box.style.height || box.dataset.grows) {
    box.dataset.grows = "yes";
    box.style.height = "";
    if (rows > 1) box.style.height = `${box.clientHeight + 20 * (rows - 1)}px`;
  }
  return 24 + 20 * rows;
}

function given(box) {
  const options = page.charts[box.dataset.chart];
  const stages = options[state.measure] || options.all;
  return stages[Math.min(state.stage, stages.length - 1)];
}

function draw(box) {
  const css = getComputedStyle(root);
  const spec = themed((makers[box.dataset.chart] || given)(box, css), css);
  const layout = {
    ...spec.layout,
    font: { family: FONT, size: 14, color: css.getPropertyValue("--ink").trim() },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 12, r: 12, t: spec.layout.annotations ? 30 : 12, b: 48 + legendHeight(spec, box), ...spec.layout.margin },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", traceorder: "normal", font: { size: 14 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css.getPropertyValue("--soft").trim(), activecolor: css.getPropertyValue("--ink").trim() },
    ...(isPrinting ? { width: box.clientWidth, height: box.clientHeight } : { autosize: true }),
    hoverlabel: { font: { size: 14 } },
    xaxis: axis(spec.layout.xaxis, css), yaxis: axis(thinned(spec.layout.yaxis, box.clientHeight - 90), css),
  };
  // What a graphics card draws would be blank on paper.
  const data = isPrinting ? spec.data.map((trace) => (trace.type === "scattergl" ? { ...trace, type: "scatter" } : trace)) : spec.data;
  return Plotly.react(box, data, layout, PICTURE);
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

// Paper is light, and narrower than a screen; in place of what can be chosen it says what was.

function sayChosen() {
  every(".controls", (controls) => {
    const said = [...controls.querySelectorAll("[data-says]")].map((part) => {
      const boxes = [...part.querySelectorAll("input:checked")].map((input) => input.parentElement.textContent.trim());
      const select = part.querySelector("select");
      return `${part.dataset.says}: ${select ? select.selectedOptions[0].textContent.trim() : boxes.join(", ") || "none"}.`;
    });
    let paper = controls.nextElementSibling;
    if (!paper || !paper.classList.contains("paper")) {
      paper = document.createElement("p");
      paper.className = "paper";
      controls.after(paper);
    }
    paper.textContent = said.join(" ");
  });
}

window.addEventListener("beforeprint", () => {
  sayChosen();
  isPrinting = true;
  root.classList.add("printing");
  drawAll();
});
window.addEventListener("afterprint", () => {
  isPrinting = false;
  root.classList.remove("printing");
  drawAll();
});
