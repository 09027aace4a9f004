"use strict";
(() => {
  // The network in three dimensions

  const TYPES = { int32: Int32Array, float32: Float32Array };
  function unpacked(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (character) => character.charCodeAt(0));
    return new TYPES[packed.type](bytes.buffer); // little-endian, as every browser's machine is
  }

  const scene = page.scene;
  const kinds = new Set(page.kinds);
  const points = unpacked(scene.points), pointRegion = unpacked(scene.point_region);
  const nodes = unpacked(scene.nodes), nodeRegion = unpacked(scene.node_region);
  const nodeShape = unpacked(scene.node_shape), nodeNumber = unpacked(scene.node_number);
  const bundles = scene.edges.map((bundle) => ({
    kind: bundle.kind, source: unpacked(bundle.source), target: unpacked(bundle.target), stages: bundle.stages.map(unpacked),
  }));
  const view = byId("view");
  const SHAPES = [
    { name: "excitatory, or unsigned", symbol: "circle", size: 2.6, color: "--node" },
    { name: "inhibitory", symbol: "circle-open", size: 3.2, color: "--ink" },
    { name: "sensor", symbol: "square", size: 3, color: "--afferent" },
    { name: "effector", symbol: "diamond", size: 5, color: "--efferent" },
  ];
  const larger = (isNarrow() ? 0.6 : 1) * (nodeShape.length < 120 ? 2.2 : nodeShape.length < 400 ? 1.5 : 1);
  const SEGMENTS = 10;

  // The point that edges from one region to another bend towards: the middle, and to the side, so that the two
  // directions stay apart.
  const deep = scene.extent[1] > scene.extent[0] ? 0 : 1; // the axis of the first look: the shorter one
  const bends = new Map();
  function bend(from, to) {
    const key = from * scene.names.length + to;
    if (!bends.has(key)) {
      const a = scene.centre[from], b = scene.centre[to];
      const d = [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
      // At right angles to the way and, as far as that can be, to the line of sight.
      const isDeep = Math.abs(d[deep]) > 0.8 * Math.hypot(...d);
      const side = isDeep === (deep === 1) ? [0, d[2], -d[1]] : [-d[2], 0, d[0]];
      bends.set(key, [0, 1, 2].map((i) => (a[i] + b[i]) / 2 + scene.lift * side[i]));
    }
    return bends.get(key);
  }

  function lines(bundle) {
    const rows = bundle.stages[state.stage];
    const xyz = [[], [], []];
    for (const row of rows) {
      const a = bundle.source[row], b = bundle.target[row];
      const from = pointRegion[a], to = pointRegion[b];
      const middle = from === to ? null : bend(from, to);
      const steps = middle ? SEGMENTS : 1;
      for (let step = 0; step <= steps; step++) {
        const t = step / steps;
        for (let i = 0; i < 3; i++) {
          const start = points[3 * a + i], end = points[3 * b + i];
          const turn = middle ? 0.8 * middle[i] + 0.1 * (start + end) : 0;
          xyz[i].push(middle ? (1 - t) * (1 - t) * start + 2 * t * (1 - t) * turn + t * t * end : step ? end : start);
        }
      }
      for (const column of xyz) column.push(null);
    }
    return xyz;
  }

  function sceneTraces(css) {
    const present = scene.present[state.stage];
    const traces = bundles.map((bundle) => {
      const [x, y, z] = kinds.has(bundle.kind) ? lines(bundle) : [[], [], []];
      return {
        type: "scatter3d", mode: "lines", name: bundle.kind, x, y, z, hoverinfo: "skip", opacity: (isNarrow() ? 0.6 : 1) * Math.min(0.8, Math.max(bundle.kind === "local" ? 0.45 : 0.16, 6 / Math.sqrt(bundle.stages[state.stage].length))),
        line: { color: css.getPropertyValue("--" + bundle.kind).trim(), width: bundle.stages[state.stage].length < 400 ? 1.8 : 1 },
      };
    });
    SHAPES.forEach((shape, number) => {
      const [x, y, z, text] = [[], [], [], []];
      nodeShape.forEach((s, i) => {
        if (s !== number || !present[nodeRegion[i]]) return;
        x.push(nodes[3 * i]); y.push(nodes[3 * i + 1]); z.push(nodes[3 * i + 2]);
        const label = scene.node_label[i];
        text.push(`${scene.names[nodeRegion[i]]} ${nodeNumber[i]}${label ? ": " + plain(label) : ""}`);
      });
      traces.push({
        type: "scatter3d", mode: "markers", name: shape.name, x, y, z, text, hovertemplate: `%{text}<extra>${shape.name}</extra>`,
        marker: { symbol: shape.symbol, size: shape.size * larger, color: css.getPropertyValue(shape.color).trim(), opacity: 0.95, line: { width: 0 } },
      });
    });
    return traces;
  }

  // Names are drawn above everything, so that no edge hides one.
  function labels(css) {
    const present = scene.present[state.stage];
    return scene.labels.map((label) => ({ ...label, shown: label.regions.filter((i) => present[i]) }))
      .filter((label) => label.shown.length).map((label) => ({
        text: label.shown.map((i) => scene.names[i]).join(", "), x: label.at[0], y: label.at[1], z: label.at[2],
        showarrow: false, yanchor: "bottom", font: { size: isNarrow() ? 13 : 16, color: css.getPropertyValue("--ink").trim() },
        bgcolor: css.getPropertyValue("--veil").trim(), borderpad: 1,
      }));
  }

  const largest = Math.max(...scene.extent);
  const half = scene.extent.map((extent) => extent / 2 + 0.08 * largest);
  const longest = Math.max(...half);
  const aspect = half.map((h) => (2 * h) / longest);

  function startCamera() {
    // Far enough for the longest side, and farther where the view is tall and narrow.
    const ratio = view.clientWidth / Math.max(view.clientHeight, 1);
    const wide = Math.max(aspect[1 - deep] / Math.max(ratio, 0.2), aspect[2], 0.7 * aspect[deep]);
    const far = (isNarrow() ? 1.12 : 0.92) * wide + 0.8 * aspect[deep] + 0.12;
    const [turn, tilt] = [deep === 1 ? -1.25 : 0.32, 0.32];
    return {
      up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: 0.06 * aspect[2] },
      eye: { x: far * Math.cos(tilt) * Math.cos(turn), y: far * Math.cos(tilt) * Math.sin(turn), z: far * Math.sin(tilt) },
    };
  }

  function hasWebGl() {
    try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
  }

  function drawScene() {
    if (!root.classList.contains("turns")) return null;
    const css = getComputedStyle(root);
    const hidden = (i) => ({ visible: false, range: [-half[i], half[i]], showspikes: false });
    return Plotly.react(view, sceneTraces(css), {
      showlegend: false, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", uirevision: "kept",
      font: { family: FONT, size: 14 }, hoverlabel: { font: { size: 14 } },
      scene: {
        xaxis: hidden(0), yaxis: hidden(1), zaxis: hidden(2), aspectmode: "manual",
        aspectratio: { x: aspect[0], y: aspect[1], z: aspect[2] }, dragmode: "turntable", camera: camera(), annotations: labels(css),
      },
    }, { displaylogo: false, displayModeBar: canHover ? "hover" : false, responsive: true, scrollZoom: false, modeBarButtons: [["toImage"]] });
  }

  function camera() {
    const kept = view.layout && view.layout.scene && view.layout.scene.camera;
    return kept || startCamera();
  }

  function look(change) {
    const now = camera();
    const { x, y, z } = now.eye;
    const polar = { far: Math.hypot(x, y, z), turn: Math.atan2(y, x), tilt: Math.asin(z / Math.hypot(x, y, z)) };
    const next = { ...polar, ...change(polar) };
    const tilt = Math.max(-1.45, Math.min(1.45, next.tilt)), far = Math.max(0.2, Math.min(12, next.far));
    return Plotly.relayout(view, { "scene.camera": { ...now, eye: {
      x: far * Math.cos(tilt) * Math.cos(next.turn), y: far * Math.cos(tilt) * Math.sin(next.turn), z: far * Math.sin(tilt),
    } } });
  }

  const turned = (right, up) => look((p) => ({ turn: p.turn + 0.2 * right, tilt: p.tilt + 0.15 * up }));
  const zoomed = (factor) => look((p) => ({ far: p.far * factor }));
  const reset = () => Plotly.relayout(view, { "scene.camera": startCamera() });

  function listenToView() {
    every("[data-turn]", (b) => b.addEventListener("click", () => turned(...b.dataset.turn.split(",").map(Number))));
    every("[data-zoom]", (b) => b.addEventListener("click", () => zoomed(Number(b.dataset.zoom))));
    byId("reset").addEventListener("click", reset);
    const keys = {
      ArrowLeft: () => turned(-1, 0), ArrowRight: () => turned(1, 0), ArrowUp: () => turned(0, 1), ArrowDown: () => turned(0, -1),
      "+": () => zoomed(0.85), "=": () => zoomed(0.85), "-": () => zoomed(1.18), 0: reset,
    };
    view.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    let spinning = null;
    const spin = byId("spin");
    function stop() { cancelAnimationFrame(spinning); spinning = null; spin.setAttribute("aria-pressed", "false"); }
    spin.addEventListener("click", () => {
      if (spinning !== null) { stop(); return; }
      spin.setAttribute("aria-pressed", "true");
      let last = performance.now();
      const frame = async (now) => {
        const passed = Math.min(now - last, 100);
        last = now;
        await look((p) => ({ turn: p.turn + 0.00025 * passed }));
        if (spinning !== null) spinning = requestAnimationFrame(frame);
      };
      spinning = requestAnimationFrame(frame);
    });
    view.addEventListener("pointerdown", stop);
  }

  function say() {
    byId("scene-count").textContent = page.counts[state.stage];
  }

  // What the reader chooses

  function toStage(stage) {
    state.stage = stage;
    every("input[data-stage]", (input) => { input.checked = Number(input.value) === stage; });
    every("select[data-stage]", (select) => { select.value = String(stage); });
    drawScene();
    every("[data-chart]", (box) => {
      const options = page.charts[box.dataset.chart];
      if ((options[state.measure] || options.all).length > 1) draw(box);
    });
    say();
  }

  every("[data-stage]", (control) => control.addEventListener("change", () => toStage(Number(control.value))));
  every("#kinds input", (box) => box.addEventListener("change", () => {
    kinds[box.checked ? "add" : "delete"](box.value);
    drawScene();
  }));
  every("#measure input", (input) => input.addEventListener("change", () => {
    state.measure = input.value;
    draw(document.querySelector("[data-chart=matrix]"));
  }));

  const play = byId("play");
  if (play) {
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; play.setAttribute("aria-pressed", "false"); };
    play.addEventListener("click", () => {
      if (timer !== null) { stop(); return; }
      play.setAttribute("aria-pressed", "true");
      toStage(0);
      timer = setInterval(() => { toStage(state.stage + 1); if (state.stage === page.n_stages - 1) stop(); }, 1500);
    });
  }

  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("bibtex").textContent);
      byId("copied").textContent = " Copied.";
    } catch {
      getSelection().selectAllChildren(byId("bibtex"));
      byId("copied").textContent = " Selected: copy it with your keyboard.";
    }
  });

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawAll(); drawScene(); });

  if (hasWebGl()) {
    root.classList.add("turns");
    listenToView();
    drawScene();
  }
  say();
  drawOneByOne();
})();
