"""The page that describes the API: Swagger UI in our colours, light or dark as the system is.

Scripts and styles come from this server alone, and the policy in the headers allows no others; nor
may the page ask another host, or be shown inside of another page.
"""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from overland.server.pagefiles import page_text, style

__all__ = ["router"]

router = APIRouter()

# Swagger UI has its images in its stylesheet, as data.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


@router.get("/docs", include_in_schema=False)
def show_docs() -> Response:
    """Return the page."""
    return HTMLResponse(page_text("docs.html"), headers=_HEADERS)


@router.get("/docs.css", include_in_schema=False)
def show_docs_style() -> Response:
    """Return what the page changes of Swagger UI's looks."""
    return Response(style("docs.css"), media_type="text/css")


@router.get("/docs.js", include_in_schema=False)
def show_docs_script() -> Response:
    """Return what starts Swagger UI."""
    return Response(page_text("docs.js"), media_type="text/javascript")
