"""The files of `pages`: what the server's pages are made of."""

from importlib.resources import files
from typing import Final

__all__ = ["page_text", "style"]

_FOLDER: Final = files("overland.server").joinpath("pages")


def page_text(name: str) -> str:
    """Return a file of the pages."""
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def style(name: str) -> str:
    """Return a stylesheet, after the colours that all pages have, light and dark."""
    return page_text("colours.css") + page_text(name)
