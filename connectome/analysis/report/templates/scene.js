// The network in three dimensions.

const network = (() => {
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
  const MISSING = { name: "missing", symbol: "x", size: 2.2, color: "--missing" };
  const larger = (isNarrow() ? 0.6 : 1) * (scene.n_drawn < 120 ? 2.2 : scene.n_drawn <= 400 ? 1.5 : scene.n_drawn <= 1000 ? 1.2 : 1);
  // What the cells are coloured and sized by, if anything: functions of the number of a cell, null where missing, the
  // first of a custom property, or of two and how far it is from one to the other; what else is said of a cell; and the
  // cell that is picked, with the cells that it is joined to.
  const shown = { colour: null, size: null, said: () => "", picked: null };
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

  function name(i) {
    const label = scene.node_label[i];
    return `${scene.names[nodeRegion[i]]} ${nodeNumber[i]}${label ? ": " + label : ""}`;
  }

  function mixed([from, to, part], css) {
    if (!to) return coloured(from, css);
    const [a, b] = [from, to].map((name) => [1, 3, 5].map((k) => parseInt(coloured(name, css).slice(k, k + 2), 16)));
    return `rgb(${a.map((v, k) => Math.round(v + part * (b[k] - v))).join(", ")})`;
  }

  const mixedOnPaper = ([from, to, part]) => (
    to ? `color-mix(in srgb, var(${to}) ${25 * Math.round(4 * part)}%, var(${from}))` : `var(${from})`);

  // The drawn cells of one marker, or those of which something is missing.
  function dots(shape, members, css) {
    const [x, y, z, text, color, size] = [[], [], [], [], [], []];
    const of = css.getPropertyValue(shape.color).trim();
    for (const i of members) {
      x.push(nodes[3 * i]); y.push(nodes[3 * i + 1]); z.push(nodes[3 * i + 2]);
      text.push(plain(name(i) + shown.said(i)));
      if (shown.colour) color.push(shape === MISSING ? of : mixed(shown.colour(i), css));
      size.push(larger * (shape !== MISSING && shown.size ? shown.size(i) : shown.colour ? 1.6 * shape.size : shape.size));
    }
    return {
      type: "scatter3d", mode: "markers", name: shape.name, x, y, z, text, customdata: members,
      hovertemplate: `%{text}<extra>${shape.name}</extra>`,
      marker: { symbol: shape.symbol, size, color: shown.colour ? color : of, opacity: 0.95, line: { width: 0 } },
    };
  }

  // From a cell to its partners: what drives it, and what it drives.
  function pickedTraces(css) {
    if (!shown.picked) return [];
    const at = (i) => [0, 1, 2].map((k) => nodes[3 * i + k]);
    const rays = (partners, title, colour, dash) => {
      const xyz = [[], [], []];
      for (const j of partners) {
        const ends = [at(shown.picked.cell), at(j)];
        xyz.forEach((column, k) => column.push(ends[0][k], ends[1][k], null));
      }
      return {
        type: "scatter3d", mode: "lines", name: title, x: xyz[0], y: xyz[1], z: xyz[2], hoverinfo: "skip",
        line: { color: css.getPropertyValue(colour).trim(), width: 3, dash },
      };
    };
    const [x, y, z] = at(shown.picked.cell).map((v) => [v]);
    return [
      rays(shown.picked.in, "picked inputs", "--afferent", "solid"), rays(shown.picked.out, "picked outputs", "--efferent", "dash"),
      {
        type: "scatter3d", mode: "markers", name: "picked cell", x, y, z, hoverinfo: "skip",
        marker: { symbol: "circle-open", size: 16, color: css.getPropertyValue("--ink").trim(), line: { width: 3, color: css.getPropertyValue("--ink").trim() } },
      },
    ];
  }

  function sceneTraces(css) {
    const present = scene.present[state.stage];
    const faint = shown.picked ? 0.35 : shown.colour ? 0.4 : 1; // so that colours of cells stand out
    const traces = bundles.map((bundle) => {
      const [x, y, z] = kinds.has(bundle.kind) ? lines(bundle) : [[], [], []];
      return {
        type: "scatter3d", mode: "lines", name: bundle.kind, x, y, z, hoverinfo: "skip",
        opacity: faint * (isNarrow() ? 0.6 : 1) * Math.min(0.8, Math.max(bundle.kind === "local" ? 0.45 : 0.16, 6 / Math.sqrt(bundle.stages[state.stage].length))),
        line: { color: css.getPropertyValue("--" + bundle.kind).trim(), width: bundle.stages[state.stage].length < 400 ? 1.8 : 1 },
      };
    });
    const members = [...SHAPES, MISSING].map(() => []);
    for (let i = 0; i < scene.n_drawn; i++) {
      if (!present[nodeRegion[i]]) continue;
      const lacks = [shown.colour, shown.size].some((of) => of && of(i) === null);
      members[lacks ? SHAPES.length : nodeShape[i]].push(i);
    }
    [...SHAPES, MISSING].forEach((shape, number) => {
      if (shape !== MISSING || members[number].length) traces.push(dots(shape, members[number], css));
    });
    return [...traces, ...pickedTraces(css)];
  }

  function joined(names) {
    const more = names.length - scene.together;
    return names.slice(0, scene.together).join(", ") + (more > 0 ? ` and ${more} more` : "");
  }

  // Names are drawn above everything, so that no edge hides one.
  function labels(css) {
    const present = scene.present[state.stage];
    return scene.labels.map((label) => ({ ...label, shown: label.regions.filter((i) => present[i]) }))
      .filter((label) => label.shown.length).map((label) => ({
        text: joined(label.shown.map((i) => scene.names[i])), x: label.at[0], y: label.at[1], z: label.at[2],
        showarrow: false, yanchor: "bottom", font: { size: isNarrow() ? 13 : 16, color: css.getPropertyValue("--ink").trim() },
        bgcolor: css.getPropertyValue("--veil").trim(), borderpad: 1,
      }));
  }

  // Of names that lie on one another the first stays, which is that of the largest region. Plotly makes them anew
  // whenever the view turns; this runs before they are painted.
  function keepNamesApart() {
    const kept = [];
    const labels = [...view.querySelectorAll(".infolayer .annotation-scene")];
    labels.sort((a, b) => a.dataset.index - b.dataset.index).forEach((label) => {
      label.style.visibility = "visible";
      const box = label.getBoundingClientRect();
      const isFree = kept.every((b) => box.right < b.left || b.right < box.left || box.bottom < b.top || b.bottom < box.top);
      if (isFree) kept.push(box);
      label.style.visibility = isFree ? "visible" : "hidden";
    });
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
    new MutationObserver(keepNamesApart).observe(view.querySelector(".infolayer"), { childList: true });
    keepNamesApart();
    view.on("plotly_click", (event) => {
      const cell = event.points[0].customdata;
      if (typeof cell === "number") view.dispatchEvent(new CustomEvent("cell", { detail: cell }));
    });
  }

  // The picture on paper: the same places as dots, in the colours and sizes that were chosen.
  function drawStill() {
    const [own, chosen] = [byId("still-dots"), byId("still-cells")];
    own.style.display = shown.colour || shown.size ? "none" : "";
    chosen.replaceChildren();
    chosen.ownerSVGElement.classList.toggle("coloured", shown.colour !== null);
    if (!shown.colour && !shown.size) return;
    const paths = new Map();
    const place = (i) => [0, 1].map((k) => [0, 1, 2].reduce((sum, d) => sum + scene.flat[d][k] * nodes[3 * i + d], scene.flat[3][k]));
    for (let i = 0; i < scene.n_drawn; i++) {
      const lacks = [shown.colour, shown.size].some((of) => of && of(i) === null);
      const shape = SHAPES[nodeShape[i]];
      const colour = lacks ? "var(--missing)" : shown.colour ? mixedOnPaper(shown.colour(i)) : `var(${shape.color})`;
      const width = Math.round(1.6 * (lacks || !shown.size ? 2.6 : shown.size(i)));
      const key = `stroke: ${colour}; stroke-width: ${width}`;
      const [x, y] = place(i);
      paths.set(key, (paths.get(key) || "") + `M${x.toFixed(0)} ${y.toFixed(0)}h0`);
    }
    for (const [style, d] of paths) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", "dots"); path.setAttribute("style", style); path.setAttribute("d", d);
      chosen.append(path);
    }
  }

  let isReady = false;
  function redraw() {
    drawStill();
    const drawn = drawScene();
    if (drawn && !isReady) { isReady = true; listenToView(); }
    return drawn;
  }

  if (hasWebGl()) root.classList.add("turns");
  return { scene, kinds, shown, name, nodeRegion, nodeNumber, nodeShape, SHAPES, view, draw: redraw };
})();
