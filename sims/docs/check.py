"""A built site, checked: links lead somewhere, every page can be reached, and nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["faults"]

_FETCHED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("audio", "src")}
_NOT_FETCHED = {"canonical", "prev", "next", "alternate", "edit"}


class _Page(HTMLParser):
    """Anchors, links and what is fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See :class:`HTMLParser`."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        for name, value in given.items():
            if (tag, name) in _FETCHED and given.get("rel") not in _NOT_FETCHED:
                self.fetched.append(value)
            elif name == "href":
                self.links.append(value)


def faults(site: Path) -> Iterator[str]:
    """What is wrong with a site that begins at ``index.html``, a line each."""
    site = site.resolve()
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    reached: set[Path] = set()
    todo = [site / "index.html"]
    ways: dict[Path, set[Path]] = {}
    for path, page in pages.items():
        here = str(path.relative_to(site))
        ways[path] = set()
        for url in page.fetched:
            if urlsplit(url).scheme in ("http", "https") or url.startswith("//"):
                yield f"{here} fetches {url}"
        for url in [*page.links, *page.fetched]:
            parts = urlsplit(url)
            if parts.scheme or url.startswith("//"):
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there in pages:
                ways[path].add(there)
            if not there.exists():
                yield f"{here} has a link to {url}, which is not there"
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
                yield f"{here} has a link to {url}, which has no such part"
    while todo:
        path = todo.pop()
        if path not in reached:
            reached.add(path)
            todo += ways.get(path, ())
    for path in pages.keys() - reached:
        yield f"{path.relative_to(site)} cannot be reached from index.html"
