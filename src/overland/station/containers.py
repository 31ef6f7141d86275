"""The containers that a job's drives go to, each opened once with a grant of its own."""

import re
import threading
from collections.abc import Callable
from typing import Final, Protocol

from overland.ports.objects import Objects
from overland.station.connection import Connection, Grant, StationJob

__all__ = ["ROOT_CONTAINER", "Containers", "OpenGrant", "is_container_name", "logs_place"]

ROOT_CONTAINER: Final = "$root"
"""Where blobs lie whose path names no container."""

_CONTAINER: Final = re.compile(r"(?=.{3,63}$)[a-z0-9](?:-?[a-z0-9])+")
_LOGS: Final = "waimportexport"  # where logs go when the job names no folder that can be one


class OpenGrant(Protocol):
    """Opens a corner of a container with a grant."""

    def __call__(self, grant: Grant, *, prefix: str, renew: Callable[[], str]) -> Objects:
        """Return the objects below `prefix`; `renew` gives a new token when this one is over."""
        ...


def is_container_name(name: str) -> bool:
    """Return whether a container can be called so; the root container can."""
    return name == ROOT_CONTAINER or _CONTAINER.fullmatch(name) is not None


def logs_place(job: StationJob) -> tuple[str, str]:
    """Return the container, and the prefix in it, of the logs of a job without a seed of ours."""
    container, _, below = job.diagnostics_path.strip("/").partition("/")
    if is_container_name(container):
        return container, _folder(below)
    return _LOGS, _folder(job.diagnostics_path)


class Containers:
    """Opens containers; its methods may be called from several threads.

    A job with a seed of ours has the seed's folder and its folder for logs, both in the policy's
    container, where nothing is ever replaced.  Another job has the containers that its drives
    name, and for logs the one that `diagnosticsPath` names.
    """

    def __init__(self, *, connection: Connection, open_grant: OpenGrant) -> None:
        self._connection, self._open_grant = connection, open_grant
        self._opened: dict[tuple[str, ...], tuple[Objects, str]] = {}
        self._lock = threading.Lock()

    def seed(self, job_id: str) -> Objects:
        """Return the folder that a job's seed goes to."""
        return self._seed_corner(job_id, None)[0]

    def logs(self, job: StationJob) -> tuple[Objects, str]:
        """Return where the logs of a job's drives go, and the address of that place."""
        if job.container is not None:
            return self._seed_corner(job.job_id, _folder(job.diagnostics_path))
        container, prefix = logs_place(job)
        return self._corner(job.job_id, container, prefix=prefix, replace=False)

    def blobs(self, job_id: str, container: str, *, replace: bool) -> Objects:
        """Return a container that blobs of other tools go to.

        With `replace` its objects may be deleted; a seed's folder stays as it is all the same.
        """
        return self._corner(job_id, container, prefix="", replace=replace)[0]

    def exported(self, job_id: str, container: str) -> Objects:
        """Return a container that an export job takes blobs from."""

        def ask() -> Grant:
            """Ask the cloud for a grant to read; again when that is over."""
            return self._connection.export_grant(job_id, container=container)

        return self._open((job_id, container, "", "export"), ask, prefix="")[0]

    def _seed_corner(self, job_id: str, folder: str | None) -> tuple[Objects, str]:
        def ask() -> Grant:
            """Ask the cloud for a grant below the seed's prefix; again when that is over."""
            return self._connection.import_grant(job_id)

        return self._open((job_id, "", folder or ""), ask, prefix=folder)

    def _corner(
        self, job_id: str, container: str, *, prefix: str, replace: bool
    ) -> tuple[Objects, str]:
        def ask() -> Grant:
            """Ask the cloud for a grant for blobs; again when that is over."""
            return self._connection.blobs_grant(job_id, container=container, replace=replace)

        key = (job_id, container, prefix, "replace" if replace else "create")
        return self._open(key, ask, prefix=prefix)

    def _open(
        self, key: tuple[str, ...], ask: Callable[[], Grant], *, prefix: str | None
    ) -> tuple[Objects, str]:
        with self._lock:
            known = self._opened.get(key)
            if known is None:
                grant = ask()
                where = grant.prefix if prefix is None else prefix
                objects = self._open_grant(grant, prefix=where, renew=lambda: ask().token)
                known = (objects, f"{grant.endpoint.rstrip('/')}/{grant.space}/{where}")
                self._opened[key] = known
            return known


def _folder(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    return "/".join(parts) + "/" if parts else ""
