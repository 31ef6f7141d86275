"""The application: all routes over one set of services."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from overland.cloud.services import Services
from overland.server import (
    problems,
    routes_jobs,
    routes_points,
    routes_resources,
    routes_seeds,
    routes_station,
    routes_tenants,
)
from overland.server.envelope import Envelope

__all__ = ["create_app"]


def create_app(services: Services) -> FastAPI:
    """Return the control plane's API; its description is at `/docs` and `/openapi.json`."""
    app = FastAPIOffline(  # the page's scripts come from here: many clouds reach no network
        title="Overland",
        description="Vaults, seeds and import jobs; see docs/reference/api.md.",
        version="1",
        redoc_url=None,
    )
    app.state.services = services
    problems.install(app)
    for module in (
        routes_jobs,
        routes_resources,
        routes_tenants,
        routes_seeds,
        routes_points,
        routes_station,
    ):
        app.include_router(module.router)
    app.add_api_route("/healthz", _healthz, methods=["GET"], tags=["Health"])
    app.add_middleware(Envelope)
    return app


def _healthz() -> dict[str, str]:
    """Return that the process answers; needs no token."""
    return {"status": "ok"}
