// What the reader of a report chooses: a stage, kinds of edges; and what is copied.
(() => {
  function say() {
    byId("scene-count").textContent = page.counts[state.stage];
  }

  function toStage(stage) {
    state.stage = stage;
    every("input[data-stage]", (input) => { input.checked = Number(input.value) === stage; });
    every("select[data-stage]", (select) => { select.value = String(stage); });
    network.draw();
    every("[data-chart]", (box) => {
      if (makers[box.dataset.chart] || page.charts[box.dataset.chart].all.length > 1) draw(box);
    });
    say();
  }

  every("[data-stage]", (control) => control.addEventListener("change", () => toStage(Number(control.value))));
  every("#kinds input", (box) => box.addEventListener("change", () => {
    network.kinds[box.checked ? "add" : "delete"](box.value);
    network.draw();
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

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawAll(); network.draw(); });

  network.draw();
  say();
  drawOneByOne();
})();
