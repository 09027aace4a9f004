// The adjacency matrix: sorted by any partition of the cells, as blocks or, of a small graph, edge by edge.
(() => {
  const matrix = page.matrix, box = document.querySelector("[data-chart=matrix]");
  if (!box) return;
  const chosen = { by: 0, shows: matrix.by.length ? "edges" : "single" };
  const MEASURES = { edges: "edges", density: "% of pairs", weight: "mean |weight|" };
  const opened = (packed) => Object.fromEntries(Object.entries(packed).map(([key, value]) => [key, unpacked(value)]));
  const stages = matrix.by.map((partition) => partition.stages.map(opened));
  const codes = matrix.by.map((partition) => partition.code && unpacked(partition.code));
  const single = matrix.single && matrix.single.map(unpacked);
  // At most four characters or so: 812, 2.4k, 36k, 1.2M.
  function short(value) {
    for (const [unit, size, from] of [["M", 1e6, 1e6], ["k", 1e3, 1e4]]) {
      if (value >= from) return `${Number((value / size).toPrecision(3))}${unit}`;
    }
    return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : String(Number(value.toPrecision(2)));
  }

  // Rows of what each group sends each other, null where there is no edge.
  function table(n, stage, shows) {
    const rows = Array.from({ length: n }, () => new Array(n).fill(null));
    stage.at.forEach((at, k) => {
      const row = Math.floor(at / n), column = at % n, edges = stage.edges[k];
      rows[row][column] = shows === "edges" ? edges
        : shows === "density" ? (100 * edges) / (stage.size[row] * stage.size[column]) : stage.weight[k] / edges;
    });
    return rows;
  }

  const AXIS = { automargin: true, showgrid: false, zeroline: false, ticks: "" };

  function blocks(css) {
    const partition = matrix.by[chosen.by], n = partition.groups.length;
    const values = table(n, stages[chosen.by][state.stage], chosen.shows);
    const there = values.flat().filter((value) => value > 0);
    const top = there.reduce((a, b) => Math.max(a, b), 0) || 1, least = there.reduce((a, b) => Math.min(a, b), Infinity);
    const isLogarithmic = chosen.shows === "edges", what = MEASURES[chosen.shows], named = partition.groups.map(plain);
    const bar = { title: { text: what, side: "right" }, thickness: 14, outlinewidth: 0 };
    if (isLogarithmic) {
      let ticks = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((m) => m * 10 ** power)).flat().filter((t) => least <= t && t <= top);
      if (ticks.length > 6) ticks = ticks.filter((t) => String(t)[0] === "1");
      Object.assign(bar, { tickvals: ticks.map(Math.log10), ticktext: ticks.map((t) => t.toLocaleString("en")) });
    }
    const gap = n > 48 ? 0 : 2;
    const trace = {
      type: "heatmap", x: named, y: named,
      z: values.map((row) => row.map((v) => (v === null ? null : isLogarithmic ? Math.log10(v) : v))),
      zmin: isLogarithmic ? Math.log10(Math.min(least, top)) - 0.01 : 0, zmax: isLogarithmic ? Math.log10(top) : top,
      colorscale: coloured("--scale", css), xgap: gap, ygap: gap, colorbar: bar, hoverongaps: false,
      text: values.map((row) => row.map((v) => (v === null ? "" : short(v)))),
      hovertemplate: "%{y} to %{x}: %{text} " + what + "<extra></extra>",
    };
    const isWide = box.clientWidth >= 640;
    if (!isWide) Object.assign(bar, { orientation: "h", y: -0.5, title: { text: what, side: "top" } });
    const one = { ...AXIS, type: "category" };
    return {
      data: [trace],
      layout: {
        margin: { b: 12 }, ...(isWide ? { annotations: cellTexts(trace) } : {}),
        xaxis: { ...one, title: { text: "to" }, constrain: "domain" },
        yaxis: { ...one, title: { text: "from" }, autorange: "reversed" },
      },
    };
  }

  // Every edge: cells in the order of their groups, lines between the groups, names where there is room.
  function edges(css) {
    const n = matrix.n, partition = matrix.by[chosen.by];
    const code = partition ? codes[chosen.by] : new Uint8Array(n), groups = partition ? partition.groups : [""];
    const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => code[a] - code[b] || a - b);
    const place = new Int32Array(n);
    order.forEach((cell, i) => { place[cell] = i; });
    const z = Array.from({ length: n }, () => new Array(n).fill(null));
    for (const edge of single[state.stage]) {
      const pair = Math.abs(edge) - 1;
      z[place[Math.floor(pair / n)]][place[pair % n]] = edge > 0 ? 1 : 0;
    }
    const starts = [0, ...order.map((cell, i) => (i && code[cell] !== code[order[i - 1]] ? i : 0)).filter(Boolean), n];
    const [shapes, tickvals, ticktext] = [[], [], []];
    starts.slice(1).forEach((end, k) => {
      const start = starts[k], middle = (start + end - 1) / 2;
      if (end < n) {
        const line = { type: "line", line: { color: "--soft", width: 1 } }, [at, first, last] = [end - 0.5, -0.5, n - 0.5];
        shapes.push({ ...line, x0: at, x1: at, y0: first, y1: last }, { ...line, x0: first, x1: last, y0: at, y1: at });
      }
      tickvals.push(middle);
      ticktext.push(plain(groups[code[order[start]]]));
    });
    const side = Math.min(box.clientWidth, box.clientHeight) - 130;
    const one = thinned({ ...AXIS, range: [-0.5, n - 0.5], tickvals, ticktext, constrain: "domain" }, side);
    return {
      data: [{
        type: "heatmap", z, zmin: 0, zmax: 1, showscale: false, colorscale: ["--long_range", page.has_signs ? "--local" : "--ink"].map((name, at) => [at, coloured(name, css)]),
        hoverongaps: false, hovertemplate: "%{customdata}<extra></extra>", customdata: z.map((row, i) => row.map((value, j) => (
          value === null ? "" : plain(`${cellName(order[i])} to ${cellName(order[j])}`)))),
      }],
      layout: {
        margin: { b: 12 }, shapes, xaxis: { ...one, title: { text: "to" }, tickangle: -45 },
        yaxis: { ...one, title: { text: "from" }, range: [n - 0.5, -0.5], scaleanchor: "x" },
      },
    };
  }

  // The number of a cell among all is that among those drawn, of a graph that is small enough for this.
  const cellName = (i) => network.name(i);

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

  makers.matrix = (_, css) => {
    box.style.height = chosen.shows === "single" ? `${Math.min(680, box.clientWidth + 20)}px`
      : `${Math.min(52, Math.max(22, 9 + 3 * matrix.by[chosen.by].groups.length))}rem`;
    return chosen.shows === "single" ? edges(css) : blocks(css);
  };

  function say() {
    const partition = matrix.by[chosen.by], isSingle = chosen.shows === "single";
    const merged = partition && !isSingle && partition.merged ? ` ${partition.merged.toLocaleString("en")} small groups are merged as ${partition.groups.find((g) => g === "(others)")}.` : "";
    byId("matrix-says").textContent = isSingle
      ? `Each dot is an edge${page.has_signs ? ": blue if it excites, orange if it inhibits" : ""}. Lines separate the groups; names for which there is no room are left out.`
      : `A block is all edges from the cells of one group (a row) to those of another (a column). Density is edges over pairs of cells. Blank: no edge.${merged}`;
  }

  const by = byId("sorted-by");
  if (by) by.addEventListener("change", () => { chosen.by = Number(by.value); say(); draw(box); });
  every("#measure input", (input) => input.addEventListener("change", () => {
    chosen.shows = input.value;
    say();
    draw(box);
  }));
  say();
})();
