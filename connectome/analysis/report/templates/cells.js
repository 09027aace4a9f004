// Cells: what they are coloured and sized by, one that is looked for, and its strongest partners.
(() => {
  const { scene, shown, name } = network;
  const columns = page.columns.map((column) => ({ ...column, values: unpacked(column.values) }));
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const number = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4))).toLocaleString("en", { maximumFractionDigits: 20 });
  const lacks = (column, i) => (column.names ? column.values[i] === 0 : Number.isNaN(column.values[i]));
  const told = (column, i) => (lacks(column, i) ? "missing" : column.names ? column.names[column.values[i] - 1] : number(column.values[i]));

  // Colour and size

  const SMALLEST = 1.6, LARGEST = 8;
  const place = (column, value) => Math.max(0, Math.min(1, (value - column.low) / (column.high - column.low || 1)));

  function colourOf(column, i) {
    if (lacks(column, i)) return null;
    if (column.names) return [column.values[i] <= column.coloured ? `--c${column.values[i] - 1}` : "--other"];
    const at = 2 + 4 * place(column, column.values[i]), low = Math.min(Math.floor(at), 5); // the faintest colours are for areas
    return [SCALE[low], SCALE[low + 1], at - low];
  }

  // Areas, not widths, go with numbers.
  function sizeOf(column, i) {
    if (lacks(column, i)) return null;
    return Math.sqrt(SMALLEST ** 2 + place(column, column.values[i]) * (LARGEST ** 2 - SMALLEST ** 2));
  }

  function swatch(colour, text) {
    const dot = make("i", {});
    dot.style.background = colour;
    return make("li", {}, dot, text);
  }

  const ends = (column) => [
    `${column.low > column.least ? "at most " : ""}${number(column.low)}`, `${column.high < column.most ? "at least " : ""}${number(column.high)}`,
  ];

  function key(column) {
    const items = [];
    if (column.names) {
      column.names.slice(0, column.coloured).forEach((text, k) => items.push(swatch(`var(--c${k})`, `${text} (${column.counts[k].toLocaleString("en")})`)));
      const others = column.names.length - column.coloured;
      if (others) {
        const sum = column.counts.slice(column.coloured).reduce((a, b) => a + b, 0);
        items.push(swatch("var(--other)", `${others.toLocaleString("en")} others (${sum.toLocaleString("en")})`));
      }
    } else {
      const ramp = make("i", { className: "ramp" });
      ramp.style.background = `linear-gradient(to right, ${SCALE.slice(2).map((stop) => `var(${stop})`).join(", ")})`;
      items.push(make("li", {}, ends(column)[0], ramp, ends(column)[1]));
    }
    if (column.missing) items.push(swatch("var(--missing)", `missing (${column.missing.toLocaleString("en")}), a cross`));
    return items;
  }

  const about = (column) => (column.about ? ` (${column.about})` : "");

  function choose() {
    const [colour, size] = ["colour-by", "size-by"].map((id) => columns[byId(id).value]);
    shown.colour = colour ? (i) => colourOf(colour, i) : null;
    shown.size = size ? (i) => sizeOf(size, i) : null;
    shown.said = (i) => [...new Set([colour, size])].filter(Boolean).map((column) => `, ${column.name} ${told(column, i)}`).join("");
    const said = [];
    if (colour) said.push(make("p", {}, `Colour: ${colour.name}${about(colour)}.`), make("ul", {}, ...key(colour)));
    if (size) {
      const lost = size.missing && size !== colour ? ` Missing: ${size.missing.toLocaleString("en")}, a cross.` : "";
      said.push(make("p", {}, `Area: ${size.name}${size === colour ? "" : about(size)}, from ${ends(size)[0]} to ${ends(size)[1]}.${lost}`));
    }
    byId("key").replaceChildren(...said);
    network.draw();
  }

  // Search

  const MOST_FOUND = 8;
  let texts = null;
  function found(query) {
    texts = texts || Array.from({ length: scene.n_drawn }, (_, i) => (
      [name(i), ...columns.filter((c) => c.names && !lacks(c, i)).map((c) => `${c.name} ${told(c, i)}`)].join(" ").toLowerCase()));
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const whole = words.join(" ");
    const rank = (i) => {
      const called = [scene.node_label[i] || "", name(i)].map((text) => text.toLowerCase());
      return called.includes(whole) ? 0 : called.some((text) => text.startsWith(whole)) ? 1 : 2;
    };
    return texts.map((_, i) => i).filter((i) => words.every((word) => texts[i].includes(word)))
      .map((i) => [rank(i), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i);
  }

  function search() {
    const query = byId("find").value, cells = found(query);
    byId("found").textContent = !query.trim() ? "" : !cells.length ? "No cell on this page has that name."
      : `${cells.length.toLocaleString("en")} ${cells.length === 1 ? "cell" : "cells"}${cells.length > MOST_FOUND ? `; the first ${MOST_FOUND}` : ""}:`;
    byId("matches").replaceChildren(...cells.slice(0, MOST_FOUND).map((i) => make("li", {}, button(i, name(i)))));
    return cells;
  }

  function button(i, text) {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", () => pick(i));
    return made;
  }

  // One cell

  const sides = Object.fromEntries(["in", "out"].map((side) => {
    const opened = Object.fromEntries(Object.entries(scene.partners[side]).map(([k, v]) => [k, unpacked(v)]));
    const end = [];
    opened.rows.reduce((sum, rows, i) => (end[i] = sum + rows), 0);
    return [side, { ...opened, end }];
  }));
  const rowsOf = (side, i) => Array.from({ length: sides[side].rows[i] }, (_, k) => sides[side].end[i] - sides[side].rows[i] + k);

  function partnerTable(side, i) {
    const own = sides[side], rows = rowsOf(side, i), isIn = side === "in";
    const title = isIn ? "Strongest inputs" : "Strongest outputs", all = own.partners[i].toLocaleString("en");
    if (!rows.length) return make("p", { className: "note" }, isIn ? "Nothing drives it." : "It drives nothing.");
    const cell = (text) => make("td", {}, text);
    const body = rows.map((row) => {
      const j = own.cell[row], weight = own.weight[row];
      const called = scene.node_label[j] || name(j);
      return make("tr", {}, make("th", { scope: "row" }, j < scene.n_drawn ? button(j, called) : called), cell(number(weight)),
        cell(Number.isNaN(own.share[row]) ? "-" : `${(100 * own.share[row]).toFixed(1)}\u00a0%`), ...(page.has_signs ? [cell(weight > 0 ? "excites" : weight < 0 ? "inhibits" : "-")] : []),
        cell(own.edges[row].toLocaleString("en")), cell(scene.names[network.nodeRegion[j]]));
    });
    const head = ["cell", "weight", "share", ...(page.has_signs ? ["sign"] : []), "edges", "region"];
    const caption = make("caption", {}, make("span", {}, `${title}: ${rows.length} of ${all}. Share: of |weight| summed over all its ${isIn ? "inputs" : "outputs"}.`));
    const box = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, caption,
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...body)));
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", title);
    return box;
  }

  function pick(i) {
    const partners = (side) => rowsOf(side, i).map((row) => sides[side].cell[row]);
    shown.picked = { cell: i, in: partners("in"), out: partners("out") };
    const facts = columns.map((column) => make("div", {}, make("dt", {}, column.name), make("dd", {}, told(column, i))));
    const heading = make("h3", { tabIndex: -1 }, name(i));
    const away = make("button", { type: "button", textContent: "Put away" });
    away.addEventListener("click", () => {
      shown.picked = null;
      byId("cell").replaceChildren();
      network.draw();
      byId("find").focus();
    });
    const rays = make("p", { className: "note" }, make("a", { href: "#view" }, "In the view"), " a ring is about it, and lines lead to these partners: inputs solid green, outputs dashed purple.");
    const tables = make("div", { className: "pair" }, ...["in", "out"].map((side) => make("div", {}, partnerTable(side, i))));
    byId("cell").replaceChildren(heading, make("dl", { className: "known" }, ...facts), tables, rays, away);
    network.draw();
    heading.focus();
  }

  ["colour-by", "size-by"].forEach((id) => byId(id).addEventListener("change", choose));
  byId("find").addEventListener("input", search);
  byId("find").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { byId("find").value = ""; search(); }
    if (event.key === "Enter") { const [first] = search(); if (first !== undefined) pick(first); }
  });
  network.view.addEventListener("cell", (event) => { if (event.detail < scene.n_drawn) pick(event.detail); });
})();
