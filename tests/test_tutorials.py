"""The tutorials: each runs at a small size, ends in a picture, and becomes a page and a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sims import tutorials
from sims.docs.cells import Done, as_notebook, as_page, execute, read_cells

FOLDER = Path(tutorials.__file__).parent
PNG = b"\x89PNG\r\n"


def test_every_script_is_in_the_order_and_on_the_page() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert scripts == set(tutorials.ORDER)
    page = (FOLDER / "README.md").read_text("utf-8")
    assert [page.index(f"{name}.py") for name in tutorials.ORDER] == sorted(page.index(f"{n}.py") for n in scripts)


@pytest.mark.parametrize("name", tutorials.ORDER)
def test_a_tutorial_is_short_and_says_what_it_is(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    cells = read_cells(text)
    assert text.count("\n") <= 160
    assert cells[0].kind == "markdown"
    assert cells[0].text.startswith("# ")
    assert cells[-2].kind == "code" or cells[-1].kind == "code"
    assert f'picture(figure, "{name}")' in text or f', "{name}")' in text


def test_what_cannot_be_used_is_said_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sims.tutorials.train_in_your_own_loop", "no_such_folder"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == (
        "python -m sims.tutorials: images must be mnist, cifar10, cifar100 or a file or folder that exists; "
        "found 'no_such_folder'.\n"
    )


#: Even when they are small; the slow tests have them.
LONG = ("your_own_connectome", "scale_out")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in tutorials.ORDER]
)
def test_it_runs_and_draws(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "compare_with_biology":
        pytest.importorskip("cect")
    monkeypatch.setenv(tutorials.SMALL, "1")
    monkeypatch.chdir(tmp_path)
    done = [*execute(FOLDER / f"{name}.py")]
    drawn = [picture for cell in done for picture in cell.pictures]
    assert len(drawn) == 1
    assert drawn[0].startswith(PNG)
    assert (tmp_path / "runs" / "tutorials" / f"{name}.png").read_bytes().startswith(PNG)


@pytest.mark.slow
@pytest.mark.parametrize("name", tutorials.ORDER)
def test_it_runs_at_full_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "compare_with_biology":
        pytest.importorskip("cect")
    monkeypatch.delenv(tutorials.SMALL, raising=False)
    monkeypatch.chdir(tmp_path)
    assert any(done.pictures for done in execute(FOLDER / f"{name}.py"))


SCRIPT = '''# %% [markdown]
r"""# Title

$\\tau$ is text.
"""

# %%
import matplotlib.figure

x = 6
print("said")
x * 7

# %% [markdown]
# More, and [another](other.md).

# %%
matplotlib.figure.Figure()
'''


def run(script: str, folder: Path) -> list[Done]:
    path = folder / "script.py"
    path.write_text(script)
    return [*execute(path)]


def test_cells_print_show_their_last_value_and_draw(tmp_path: Path) -> None:
    done = run(SCRIPT.replace('r"""', '"""'), tmp_path)
    assert [cell.cell.kind for cell in done] == ["markdown", "code", "markdown", "code"]
    assert done[0].cell.text == "# Title\n\n$\\tau$ is text."
    assert done[1].printed == "said\n42\n"
    assert done[2].cell.text == "More, and [another](other.md)."
    page, pictures = as_page(done, "script")
    assert page.index("```python") < page.index("```text\nsaid\n42\n```") < page.index("![")
    assert [*pictures] == ["script.png"]


def test_a_notebook_is_one_to_jupyter(tmp_path: Path) -> None:
    book = json.loads(as_notebook(run(SCRIPT.replace('r"""', '"""'), tmp_path)))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", "code", "markdown", "code"]
    assert "[another](other.ipynb)" in book["cells"][2]["source"]
    assert book["cells"][1]["outputs"][0]["text"] == "said\n42\n"
    assert "image/png" in book["cells"][3]["outputs"][0]["data"]


def test_an_error_names_its_line_and_an_exit_ends_the_script(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run("# %%\nx = 1\n\n# %%\n\n1 / 0\n", tmp_path)
    assert raised.traceback[-1].lineno + 1 == 6
    done = run("# %%\nraise SystemExit('Not installed.')\n\n# %%\n1 / 0\n", tmp_path)
    assert [cell.printed for cell in done] == ["Not installed.\n"]
