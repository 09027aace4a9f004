
// What the reader of an experiment chooses: a condition, and how cells are taken together.
(() => {
  function redraw() {
    every("[data-chart]", (box) => {
      const options = page.charts[box.dataset.chart];
      if (Object.keys(options).length > 1 || (options[state.measure] || options.all).length > 1) draw(box);
    });
  }

  every("[data-stage]", (control) => control.addEventListener("change", () => {
    state.stage = Number(control.value);
    every("input[data-stage]", (input) => { input.checked = Number(input.value) === state.stage; });
    every("select[data-stage]", (select) => { select.value = String(state.stage); });
    const { base, here } = page.pairs[state.stage];
    every("[data-name]", (title) => { title.textContent = title.dataset.name === "here" ? here : base; });
    redraw();
  }));
  every("[data-measure]", (control) => control.addEventListener("change", () => {
    state.measure = control.value;
    every("[data-measure]", (input) => { input.checked = input.value === state.measure; });
    redraw();
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawOneByOne();
})();
