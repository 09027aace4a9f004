"""The page about a run as a person meets it, in headless Chromium: it turns, filters, can be read and printed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectome import Connectome
from connectome.analysis.report.page import Sample, report
from connectome.analysis.report.scene import MAX_EDGES
from connectome.simulate.runs import Poisson, Stimulus, run
from tests.test_report import HOSTILE, SIZES, graph, results_of

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no chromium to be found")]
FLAGS = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def annotated(c: Connectome) -> Connectome:
    """With names and attributes of the cortex, some hostile, some missing."""
    known: dict[str, Any] = {
        "class": [None if i % 6 == 0 else HOSTILE if i % 6 == 1 else f"C{i % 6}" for i in range(60)],
        "volume": [None if i % 5 == 0 else float(i) for i in range(60)],
    }
    cortex = replace(
        c.regions["cortex"], attributes=known, label=np.array([f"cell {i} {HOSTILE[:20]}" for i in range(60)])
    )
    return replace(c, regions={**c.regions, "cortex": cortex})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about three stages, the last with more edges than are drawn, with spikes and hostile names."""
    stages = [
        graph({"eye": 8, "cortex": 60}, 300, 0, 0, "birth"), graph(SIZES, 500, 0, 1, "growth"),
        graph(SIZES | {"cortex": 60}, 1500, 0, 2, "age"),
    ]  # fmt: skip
    stages[2] = annotated(stages[2])
    drive = Stimulus(poisson={"eye": Poisson(200.0)})
    samples = [Sample("some", "Poisson spikes.", run(stages[-1], 20.0, drive))]
    html = report(
        stages, ["birth", "growth", HOSTILE], source="shown", samples=samples, configuration="[a]\nb = 1\n",
        reference=("other", stages[0]),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("shown") / "page.html"
    path.write_text(html, "utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, which draws in three dimensions without a graphics card."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and what happened on it."""

    def __init__(self, browser: Any, path: Path, **how: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 900, "height": 700}, **how})
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.wrong.append(str(e)))
        self.page.on("dialog", self.refuse)
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def refuse(self, dialog: Any) -> None:
        self.wrong.append(dialog.message)
        dialog.dismiss()

    def do(self, script: str) -> Any:
        return self.page.evaluate(script)

    def eye(self) -> tuple[float, float, float]:
        found = self.do("(({x, y, z}) => [x, y, z])(document.getElementById('view').layout.scene.camera.eye)")
        x, y, z = found
        return x, y, z

    def drawn(self) -> dict[str, int]:
        """Numbers of coordinates of each trace of the view."""
        script = "Object.fromEntries(document.getElementById('view').data.map(t => [t.name, t.x.length]))"
        return dict(self.do(script))


@pytest.fixture(scope="module")
def desk(browser: Any, shown: Path) -> Iterator[Visit]:
    visit = Visit(browser, shown)
    yield visit
    visit.context.close()


#: Every text that is shown, with its size, its colour and what is behind it.
TEXTS = """
(() => {
  const found = [];
  const rgb = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
  const UNSEEN = "script, style, noscript, option, .visually-hidden, .skip, details:not([open]) > :not(summary), " +
    "[data-chart=matrix] .annotation";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest(UNSEEN) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    if (style.visibility === "hidden" || style.opacity === "0") continue;
    const isSvg = element instanceof SVGElement;
    let behind = element, paper = null;
    while (behind && !paper) {
      if (behind instanceof HTMLElement) paper = rgb(getComputedStyle(behind).backgroundColor);
      behind = behind.parentElement;
    }
    const ink = rgb(isSvg ? style.fill : style.color).slice(0, 3);
    found.push({ text, size: parseFloat(style.fontSize), ink, paper: (paper || [255, 255, 255]).slice(0, 3) });
  }
  return found;
})()
"""


def contrast(text: dict[str, Any]) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: Sequence[float]) -> float:
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    dark, light = sorted((luminance(text["ink"]), luminance(text["paper"])))
    return (light + 0.05) / (dark + 0.05)


def test_it_opens_without_errors_or_requests(desk: Visit, shown: Path) -> None:
    assert desk.wrong == []
    assert desk.asked == [shown.as_uri()]
    assert desk.do("document.querySelectorAll('.chart .main-svg').length") >= 10
    assert desk.do("[...document.querySelectorAll('.chart')].every(c => c.data.length > 0)")


def test_the_first_screen_tells_the_story(browser: Any, tmp_path: Path) -> None:
    """Of a desktop with the network, of a phone without."""
    stages = [graph(SIZES, 10, name="see"), graph(SIZES, 20, stage=1, name="reach")]
    html = report(stages, ["see", "reach"], source="run", results=results_of(["see", "reach"]))
    (tmp_path / "page.html").write_text(html, "utf-8")
    visit = Visit(browser, tmp_path / "page.html", viewport={"width": 1440, "height": 900})
    for width, height, what in ((1440, 900, "#view"), (390, 844, ".tiles")):
        visit.page.set_viewport_size({"width": width, "height": height})
        box = visit.page.locator(what).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height
    visit.context.close()


def test_the_mouse_turns_the_view(desk: Visit) -> None:
    desk.page.locator("#view").scroll_into_view_if_needed()
    before, picture = desk.eye(), desk.page.locator("#view").screenshot()
    box = desk.page.locator("#view").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    desk.page.mouse.move(*middle)
    desk.page.mouse.down()
    desk.page.mouse.move(middle[0] + 160, middle[1], steps=2)
    desk.page.wait_for_timeout(500)  # the view follows the mouse frame by frame, and stays where it is let go
    desk.page.mouse.up()
    desk.page.wait_for_timeout(200)
    assert np.linalg.norm(np.subtract(desk.eye(), before)) > 0.2
    assert desk.page.locator("#view").screenshot() != picture


def test_keys_and_buttons_turn_zoom_and_start_again(desk: Visit) -> None:
    desk.page.click("#reset")
    start = np.array(desk.eye())
    desk.page.focus("#view")
    seen = [start]
    for key in ("ArrowLeft", "ArrowUp", "+"):
        desk.page.keyboard.press(key)
        seen.append(np.array(desk.eye()))
    left, up, near = seen[1:]
    assert np.arctan2(left[1], left[0]) < np.arctan2(start[1], start[0])
    assert up[2] > left[2]
    assert np.linalg.norm(near) == pytest.approx(0.85 * np.linalg.norm(up))
    desk.page.click("[data-turn='1,0']")
    desk.page.click("#spin")
    desk.page.wait_for_timeout(400)
    desk.page.click("#spin")
    assert not np.allclose(desk.eye(), near)
    desk.page.click("#reset")
    assert np.allclose(desk.eye(), start)


def test_it_filters_by_kind(desk: Visit) -> None:
    before = desk.drawn()
    assert min(before[k] for k in ("local", "long_range", "afferent", "efferent")) > 0
    desk.page.locator("#kinds input[value=local]").focus()
    desk.page.keyboard.press("Space")
    after = desk.drawn()
    assert after["local"] == 0
    assert {k: n for k, n in after.items() if k != "local"} == {k: n for k, n in before.items() if k != "local"}
    desk.page.keyboard.press("Space")
    assert desk.drawn() == before


def markers(desk: Visit, name: str) -> dict[str, Any]:
    """The colours and sizes of the dots of one trace, and how many there are."""
    found = "(({marker, x}) => ({colour: marker.color, size: marker.size, n: x.length}))"
    return dict(desk.do(f"{found}(document.getElementById('view').data.find(t => t.name === {name!r}))"))


def test_cells_are_coloured_and_sized_and_what_is_missing_is_a_cross(desk: Visit) -> None:
    before = desk.drawn()
    cells = sum(before[k] for k in ("excitatory, or unsigned", "inhibitory", "sensor", "effector"))
    desk.page.select_option("#colour-by", label="class")
    after = desk.drawn()
    assert after["missing"] == 10 + 8 + 12 + 3, "of the cortex, and all others, which have no class"
    some = markers(desk, "excitatory, or unsigned")
    assert 2 <= len({*some["colour"]}) <= 5
    key = desk.page.locator("#key li").all_inner_texts()
    assert f"{HOSTILE} (10)" in key
    assert "missing (33), a cross" in key
    desk.page.select_option("#colour-by", label="in degree")
    desk.page.select_option("#size-by", label="volume")
    some = markers(desk, "excitatory, or unsigned")
    assert len({*some["size"]}) > 10
    assert desk.drawn()["missing"] == 12 + 12 + 8 + 3
    assert markers(desk, "missing")["colour"][0] == desk.do(
        "getComputedStyle(document.documentElement).getPropertyValue('--missing').trim()"
    )
    assert "Area: volume, from 1 to 59. Missing: 35, a cross." in desk.page.locator("#key").inner_text()
    for select in ("#colour-by", "#size-by"):
        desk.page.select_option(select, "")
    assert desk.drawn() == before
    assert (
        sum(before[k] for k in before if k in ("excitatory, or unsigned", "inhibitory", "sensor", "effector")) == cells
    )
    assert desk.page.locator("#key").inner_text() == ""


def test_a_cell_is_found_by_keyboard_and_shows_its_partners(desk: Visit) -> None:
    desk.page.focus("#find")
    desk.page.keyboard.type("class c3")
    assert desk.page.locator("#found").inner_text() == "10 cells; the first 8:"
    assert desk.page.locator("#matches button").count() == 8
    desk.page.keyboard.press("Enter")
    heading = desk.page.locator("#cell h3")
    assert heading.inner_text().startswith("cortex 3: cell 3 <script")
    assert desk.do("document.activeElement === document.querySelector('#cell h3')")
    facts = dict(
        zip(
            desk.page.locator("#cell dt").all_inner_texts(),
            desk.page.locator("#cell dd").all_inner_texts(),
            strict=True,
        )
    )
    assert (facts["class"], facts["volume"]) == ("C3", "3")
    rows = desk.page.locator("#cell table").nth(0).locator("tbody tr").all_inner_texts()
    assert len(rows) == 10
    assert all("excites" in row or "inhibits" in row for row in rows)
    drawn = desk.drawn()
    assert (drawn["picked inputs"], drawn["picked outputs"], drawn["picked cell"]) == (30, 30, 1)
    first = desk.page.locator("#cell tbody button").first
    called = first.inner_text()
    first.focus()
    desk.page.keyboard.press("Enter")
    assert called in heading.inner_text()
    desk.page.click("#cell > button")
    assert "picked cell" not in desk.drawn()
    desk.page.fill("#find", "nobody")
    assert desk.page.locator("#found").inner_text() == "No cell on this page has that name."
    desk.page.press("#find", "Escape")
    assert desk.page.locator("#found").inner_text() == ""
    desk.do("document.getElementById('view').emit('plotly_click', {points: [{customdata: 7}]})")
    assert desk.page.locator("#cell h3").inner_text() == "eye 7"
    desk.page.click("#cell > button")
    assert desk.wrong == []


def test_no_name_in_the_view_lies_on_another(desk: Visit) -> None:
    boxes = "[...document.querySelectorAll('#view .annotation-scene')].filter(e => e.style.visibility === 'visible')"
    boxes += ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])"
    shown = []
    for _ in range(4):
        shown.append(desk.do(boxes))
        for a, b in combinations(shown[-1], 2):
            assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
        for _ in range(4):
            desk.page.click("[data-zoom='1.18']")
        desk.page.click("[data-turn='1,0']")
        desk.page.wait_for_timeout(150)
    assert 1 <= len(shown[-1]) < len(shown[0]), "from afar there is no room for all"
    desk.page.click("#reset")


def test_the_matrix_is_sorted_by_any_partition(desk: Visit) -> None:
    axis = "document.querySelector('[data-chart=matrix]').data[0].y"
    assert desk.do(axis) == ["eye", "cortex", "thalamus", "hand"]
    edges = "document.querySelector('[data-chart=matrix]').data[0].z.flat().filter(v => v !== null)"
    edges += ".reduce((sum, v) => sum + 10 ** v, 0)"
    all_edges = desk.do(edges)
    desk.page.select_option("#sorted-by", label="class")
    groups = desk.do(axis)
    assert groups[-1] == "(missing)"
    assert not [group for group in groups if "<" in group]
    assert desk.do(edges) == pytest.approx(all_edges)
    desk.page.select_option("#sorted-by", label="region")


def test_it_filters_by_stage_everywhere_at_once(desk: Visit) -> None:
    z = "JSON.stringify(document.querySelector('[data-chart=matrix]').data[0].z)"
    before, matrix, eye = desk.drawn(), desk.do(z), desk.eye()
    desk.page.locator("#network input[data-stage]").first.check(force=True)
    after = desk.drawn()
    assert after["local"] < before["local"]
    assert after["efferent"] == after["effector"] == 0
    assert desk.do(z) != matrix
    assert np.allclose(desk.eye(), eye)
    assert desk.page.locator("#adjacency input[data-stage]").first.is_checked()
    assert "birth:" in desk.page.locator("#scene-count").inner_text()
    desk.page.keyboard.press("ArrowRight")
    assert "growth:" in desk.page.locator("#scene-count").inner_text()
    desk.page.click("#play")
    assert desk.page.locator("#play").get_attribute("aria-pressed") == "true"
    desk.page.wait_for_selector("#play[aria-pressed=false]", timeout=15_000)
    assert desk.drawn() == before


def test_lines_are_bounded(desk: Visit) -> None:
    for kind in ("local", "long_range", "afferent", "efferent"):
        gaps = f"document.getElementById('view').data.find(t => t.name === '{kind}').x.filter(v => v === null).length"
        assert 0 < desk.do(gaps) <= MAX_EDGES
    assert desk.do("document.querySelectorAll('*').length") < 20_000


def test_the_measure_can_be_chosen(desk: Visit) -> None:
    title = "document.querySelector('[data-chart=matrix]').data[0].colorbar.title.text"
    assert desk.do(title) == "edges"
    desk.page.locator("#measure input[value=weight]").check(force=True)
    assert desk.do(title) == "mean |weight|"
    desk.page.locator("#measure input[value=edges]").check(force=True)


@pytest.mark.parametrize("how", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}])
def test_texts_are_large_and_stand_out(browser: Any, shown: Path, how: dict[str, Any]) -> None:
    visit = Visit(browser, shown, **how)
    assert visit.wrong == []
    texts = visit.do(TEXTS)
    assert len(texts) > 150
    small = {(t["text"], t["size"]) for t in texts if t["size"] < 13}
    assert small == set()
    faint = {(t["text"], round(contrast(t), 2)) for t in texts if contrast(t) < 4.5}
    assert faint == set()
    assert visit.do("document.documentElement.scrollWidth <= innerWidth")
    visit.context.close()


def test_numbers_on_cells_stand_out(desk: Visit) -> None:
    found = desk.do(
        "(({data: [d], layout}) => ({scale: d.colorscale, low: d.zmin, high: d.zmax, z: d.z, texts: "
        "layout.annotations.map(a => [a.x, a.y, a.font.color])}))(document.querySelector('[data-chart=matrix]'))"
    )
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for _, c in found["scale"]], float)
    assert len(found["texts"]) > 3
    for x, y, colour in found["texts"]:
        place = (found["z"][y][x] - found["low"]) / (found["high"] - found["low"])
        cell = [np.interp(place, [p for p, _ in found["scale"]], stops[:, i]) for i in range(3)]
        ink = [0.0] * 3 if colour == "#000000" else [255.0] * 3
        assert contrast({"ink": ink, "paper": cell}) >= 4.5


def test_it_is_read_aloud_in_order(desk: Visit) -> None:
    levels = desk.do("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    unnamed = desk.do(
        "[...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.textContent.trim()).length"
        " + [...document.querySelectorAll('[role=img], [role=application], [role=region]')]"
        ".filter(e => !e.getAttribute('aria-label')).length"
        " + [...document.querySelectorAll('button')].filter(b => !b.textContent.trim() && !b.ariaLabel).length"
        " + [...document.querySelectorAll('input, select')].filter(i => !i.labels.length && !i.ariaLabel).length"
    )
    assert unnamed == 0
    assert desk.do("document.documentElement.lang") == "en"


def test_it_prints(browser: Any, shown: Path) -> None:
    visit = Visit(browser, shown, color_scheme="dark")
    visit.page.select_option("#colour-by", label="class")
    visit.do("window.dispatchEvent(new Event('beforeprint'))")
    visit.page.emulate_media(media="print")
    assert visit.do("getComputedStyle(document.querySelector('.still')).display") == "block"
    assert visit.do("getComputedStyle(document.getElementById('view')).display") == "none"
    assert visit.do("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    said = visit.page.locator("#network .paper").inner_text()
    assert "Cells coloured by: class." in said
    assert f"Stage: {HOSTILE}." in said
    assert not visit.page.locator("#colour-by").is_visible()
    dots = "[...document.querySelectorAll('#still-cells path')].map(p => p.getAttribute('d')).join('')"
    assert visit.do(dots).count("h0") == 83
    assert visit.do("getComputedStyle(document.querySelector('#still-dots')).display") == "none"
    wide = visit.do("Math.max(...[...document.querySelectorAll('.chart .main-svg')].map(s => s.clientWidth))")
    assert wide <= 700
    inside = "c => c.querySelector('.main-svg').clientHeight <= c.clientHeight + 1"
    assert visit.do(f"[...document.querySelectorAll('.chart')].every({inside})")
    assert len(visit.page.pdf(format="A4")) > 20_000
    assert visit.wrong == []
    visit.context.close()


def test_without_script_there_is_still_a_picture(browser: Any, shown: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shown.as_uri())
    assert page.locator(".still").is_visible()
    assert page.locator(".no-js").is_visible()
    assert page.locator("#stages table").first.is_visible()
    assert not page.locator("#play").is_visible()
    context.close()
