"""The site: equations, docstrings' links, what a page of the repository becomes, and the check of what was built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectome.errors import ConnectomeError
from sims.docs import pages
from sims.docs.__main__ import main
from sims.docs.check import faults
from sims.docs.equations import is_equation, tex


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("dv/dt = -v / tau_m", r"\frac{d v}{d t} = -\frac{v}{\tau_{\mathrm{m}}}"),
        ("keep + (1 - keep) (1 - x)^3", r"\mathrm{keep}+(1-\mathrm{keep})\,{(1-x)}^{3}"),
        ("f(w) = (a - w) / (a - b)", r"f(w)=\frac{a-w}{a-b}"),
        ("v >= v_th + adapt_beta a", r"v\ge v_{\mathrm{th}}+\beta_{\mathrm{adapt}}\,a"),
        ("sqrt(x^2 + y^2)", r"\sqrt{{x}^{2}+{y}^{2}}"),
        ("S <- S + |s g|^p", r"S\leftarrow S+{|s\,g|}^{p}"),
        ("w' <- m w'", r"{w}'\leftarrow m\,{w}'"),
    ],
)
def test_a_plain_equation_becomes_tex(plain: str, expected: str) -> None:
    assert is_equation(plain)
    assert tex(plain).replace(" ", "") == expected.replace(" ", "")


@pytest.mark.parametrize(
    "code", ["weight_pa", "x[at + k]", "run(..., plasticity={key: rule})", "2**64 - 1", "a == b", "sum over r of w + u"]
)
def test_code_is_no_equation(code: str) -> None:
    assert not is_equation(code)


@pytest.mark.slow
def test_pages_link_to_pages_and_every_mechanism_has_one(tmp_path: Path) -> None:
    nav = pages.write_pages(tmp_path, {})
    assert [next(iter(part)) for part in nav] == ["Home", "Tutorials", "Guide", "Mechanisms", "API", "Results"]
    home = (tmp_path / "index.md").read_text("utf-8")
    assert "(guide/sims.md)" in home
    assert not re.search(r"\]\([^)]*README\.md", home)
    assert "c_m" in (tmp_path / "source" / "connectome.neurons.alif.py.md").read_text("utf-8")
    alif = (tmp_path / "mechanisms" / "neurons" / "alif.md").read_text("utf-8")
    assert "::: connectome.neurons.alif.Alif" in alif
    assert "| `t_ref_ms` | 2.0 | at least 0 | ms |" in alif
    assert "[`connectome/neurons/alif.py`](../../source/connectome.neurons.alif.py.md)" in alif
    assert "::: connectome.io.snapshot" in (tmp_path / "api" / "io.md").read_text("utf-8")


def test_a_link_of_a_page_that_leads_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("[a](there/README.md)")
    with pytest.raises(ConnectomeError, match=r"README\.md must have links to files that are there; found 'there/"):
        pages.write_pages(tmp_path / "site", {})


def test_a_built_site_is_checked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="a.html#part">a</a> <a href="none.html">b</a> <a href="https://example.org">c</a>'
        '<script src="https://example.org/x.js"></script><img src="p.png">'
    )
    (tmp_path / "a.html").write_text('<a href="index.html#top">back</a> <a href="#part"></a>')
    (tmp_path / "alone.html").write_text('<link rel="next" href="https://example.org">')
    assert sorted(faults(tmp_path)) == [
        "a.html has a link to #part, which has no such part",
        "alone.html cannot be reached from index.html",
        "index.html fetches https://example.org/x.js",
        "index.html has a link to a.html#part, which has no such part",
        "index.html has a link to none.html, which is not there",
        "index.html has a link to p.png, which is not there",
    ]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["--out", str(tmp_path)]) == 2
    assert "--out must be empty, or not there" in capsys.readouterr().err
