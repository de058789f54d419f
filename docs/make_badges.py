"""Write the badges of the README, from what pyproject.toml says: `python docs/make_badges.py`."""

import re
from html import escape
from pathlib import Path

SITE = Path(__file__).parent / "site"
UNTRIED = "3.14"  # a badge has the versions on which the tests have run
CHARACTER, PADDING, HEIGHT = 6.6, 7, 20  # of a word in 11 px


def said() -> dict[str, tuple[str, str]]:
    """The two words of each badge, by the name of its file."""
    project = (SITE.parent.parent / "pyproject.toml").read_text("utf-8")
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    versions = [version for version in versions if version != UNTRIED]
    (license_name,) = re.findall(r'(?m)^license = "(.+)"$', project)
    return {"badge-python": ("python", f"{versions[0]} to {versions[-1]}"), "badge-license": ("license", license_name)}


def badge(left: str, right: str) -> str:
    """A badge of two words."""
    at = round(len(left) * CHARACTER + 2 * PADDING)
    width = at + round(len(right) * CHARACTER + 2 * PADDING)
    words = "".join(
        f'<text x="{x}" y="14" text-anchor="middle">{escape(word)}</text>'
        for x, word in ((at / 2, left), ((at + width) / 2, right))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(left)}: {escape(right)}">'
        f'<rect width="{width}" height="{HEIGHT}" rx="3" fill="#0550ae"/>'
        f'<path d="M3 0h{at - 3}v{HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#424a53"/>'
        f'<g fill="#fff" font-family="Verdana,sans-serif" font-size="11">{words}</g></svg>\n'
    )


if __name__ == "__main__":
    for name, words in said().items():
        (SITE / f"{name}.svg").write_text(badge(*words), "utf-8")
