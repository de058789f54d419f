"""Look through the built site: `python docs/check_site.py FOLDER`.

Every link within it leads to a file and to an anchor there, nothing is loaded from elsewhere, and the search knows
words that readers look for.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WANTED = ["ECONNRESET", "toxiproxy", "PostgreSQL", "pytest", "StartTLS"]  # words in pages, as a reader may type them
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The links, the anchors and what is loaded of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag says."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and (href := given.get("href")):
            self.links.append(href)
        if (place := given.get(LOADS.get(tag, ""))) and given.get("rel") != "canonical":
            self.loads.append(place)


def broken(site: Path) -> list[str]:
    """What is wrong, a line for each."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    found.append(f"{path.name}: loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{path.name}: {link} is no file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in {*pages[target].anchors, "top"}:
                found.append(f"{path.name}: {link} is no anchor")
    index = (site / "searchindex.js").read_text("utf-8").lower()
    found += [f"the search does not know {word}" for word in WANTED if word.lower()[:6] not in index]
    return sorted(set(found))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    wrong = broken(folder)
    print("\n".join(wrong) or f"{len(list(folder.rglob('*.html')))} pages: every link leads somewhere")
    sys.exit(bool(wrong))
