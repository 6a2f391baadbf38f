"""Follow every link of a built site: ``python -m tools.check_site build/site``.

Links within the site must lead to a file and, where they name one, to an anchor of it. Nothing
that a browser loads by itself may come from elsewhere, so that the site works offline. Addresses
elsewhere that a reader may click are not asked for: a build needs no network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page names: its anchors, its links, what it loads, pictures without words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif address := named.get(LOADED.get(tag, ""), ""):
            self.loads.append(address)
        if tag == "img" and not named.get("alt"):
            self.silent.append(named.get("src", "?"))


def problems(site: Path) -> list[str]:
    """Return what is wrong with a site's pages, one sentence each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        found += [f"{name}: a picture without words: {source}" for source in page.silent]
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme == "data" or (parts.scheme and link not in page.loads):
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{name}: loads {link} from elsewhere")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: {link} leads nowhere")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].anchors}:
                found.append(f"{name}: {link} names no anchor there")
    return found


def main() -> None:
    found = problems(Path(sys.argv[1] if len(sys.argv) > 1 else "build/site").resolve())
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
