"""A dock's cloud behind real sockets, and its drives as folders, for the commands of a station."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.support.dataplane import serving_app
from tests.support.docked import Dock
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.adapters.localsocket import listening
from overland.adapters.medium import BUFFER_BYTES, BufferPool, read_blocks
from overland.adapters.volumes import create_folder_volume
from overland.cloud.services import Endpoints
from overland.crypto import sign
from overland.server.api import create_app
from overland.server.attached import AttachingListener
from overland.server.objects_app import create_objects_app

__all__ = ["drive_folders", "served"]


@contextmanager
def served(dock: Dock, *, local: Path | None = None) -> Iterator[str]:
    """Serve the dock's cloud and its objects at 127.0.0.1; the value is the API's address.

    With `local` the objects are at that socket, where files can be handed over too, and the
    address that grants name answers nobody.
    """
    cloud = dock.cloud
    objects = create_objects_app(
        cloud.spaces,
        public_key=sign.public_key(cloud.grant_key),
        clock=cloud.clock,
        read_file=partial(read_blocks, block_bytes=BUFFER_BYTES, pool=BufferPool()),
    )
    with ExitStack() as closing:
        listener = None
        if local is not None:
            bound = closing.enter_context(listening(local, group=None))
            listener = closing.enter_context(AttachingListener(fileno=bound.detach()))
        object_url = closing.enter_context(serving_app(objects, None, listener=listener))
        nobody = "http://127.0.0.1:1"
        endpoints = Endpoints(url="http://127.0.0.1", object_url=object_url or nobody, ca_pem="")
        api = create_app(replace(cloud.services, endpoints=endpoints))
        with serving_app(api, None, http=H11Protocol) as url:
            yield url


def drive_folders(dock: Dock, folder: Path) -> dict[str, Path]:
    """Copy the dock's drives into folders that serve as drives."""
    made = {}
    for serial, drive in dock.drives.items():
        made[serial] = folder / serial
        volume = create_folder_volume(made[serial], serial=serial, capacity_bytes=1 << 40)
        for info in drive.disk.names():
            volume.files().write(info.name, drive.disk.read(info.name))
    return made
