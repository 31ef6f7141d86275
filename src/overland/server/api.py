"""The application: all routes over one set of services."""

from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from overland.cloud.services import Services
from overland.server import (
    pages_docs,
    pages_signin,
    problems,
    routes_applications,
    routes_jobs,
    routes_me,
    routes_oauth,
    routes_points,
    routes_preflight,
    routes_resources,
    routes_seeds,
    routes_station,
    routes_tenants,
    routes_users,
)
from overland.server.answers import FAILURES
from overland.server.caller import Needs
from overland.server.envelope import Envelope

__all__ = ["create_app"]

_SCHEME: Final = "token"


def create_app(services: Services) -> FastAPI:
    """Return the control plane's API; its description is at `/docs` and `/openapi.json`."""
    app = FastAPIOffline(  # the scripts of `/docs` come from here: many clouds reach no network
        title="Overland",
        description="Vaults, seeds and import jobs; see docs/reference/api.md.",
        version="1",
        docs_url=None,  # `pages_docs` has it
        redoc_url=None,
        responses=FAILURES,
    )
    app.state.services = services
    problems.install(app)
    modules = (
        routes_jobs,
        routes_resources,
        routes_tenants,
        routes_seeds,
        routes_points,
        routes_preflight,
        routes_station,
        routes_applications,
        routes_users,
        routes_me,
        routes_oauth,
        pages_signin,
        pages_docs,
    )
    for module in modules:
        app.include_router(module.router)
    app.add_api_route("/healthz", _healthz, methods=["GET"], tags=["Health"])
    app.add_middleware(Envelope)
    routes = [each for module in modules for each in module.router.routes]
    app.state.routes = [route for route in routes if isinstance(route, APIRoute)]
    _describe_tokens(app)
    return app


def _describe_tokens(app: FastAPI) -> None:
    """Say in the OpenAPI document which routes need a bearer token: those that ask who calls."""
    describe, routes = app.openapi, cast("list[APIRoute]", app.state.routes)  # set above
    protected = [route for route in routes if _needs_token(route)]

    def with_tokens() -> dict[str, Any]:  # Any: FastAPI's own type of the document
        """Return the OpenAPI document, which is made at the first call and kept."""
        if app.openapi_schema is None:
            document = describe()
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes[_SCHEME] = {"type": "http", "scheme": "bearer"}
            for route in protected:
                for method in route.methods or ():
                    operation = document["paths"].get(route.path_format, {}).get(method.lower())
                    if operation is not None:  # some pages are not described
                        operation["security"] = [{_SCHEME: []}]
        assert app.openapi_schema is not None, "describing stores the document"
        return app.openapi_schema

    app.openapi = with_tokens  # type: ignore[method-assign] # FastAPI's documented way


def _needs_token(route: APIRoute) -> bool:
    waiting: list[Dependant] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Needs):
            return True
        waiting += dependant.dependencies
    return False


def _healthz() -> dict[str, str]:
    """Return that the process answers; needs no token."""
    return {"status": "ok"}
