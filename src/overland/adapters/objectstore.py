"""Objects in Azure Blob Storage, S3, or anything else that obstore speaks.

What is durable, and when, is the service's promise; Azure and S3 give it with their answer.
The library's own `LocalStore` gives none: it never syncs, and has no conditional replacement.
A folder on this computer is therefore a `FolderObjects`; `LocalStore` is for trying out.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, ObjectStore

from overland.errors import (
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    Unreachable,
)
from overland.ports.files import name_parts
from overland.values import ObjectInfo, promised_digest

__all__ = ["ObstoreObjects"]

_BLOCK_BYTES: Final = 4 << 20
_ONE_REQUEST_BYTES: Final = 128 << 20  # a pack of 64 MiB twice; what a put may hold in memory
_LISTED: Final = 1000  # a page of S3; Azure's are larger
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._-]*")

_Found = Literal["absent", "same", "damaged"]


class ObstoreObjects:
    """`Objects` below one prefix of a store.

    Every call raises `NotAuthorised` where the store's key does not allow it, and `Unreachable` for
    whatever else the store's library fails with.
    """

    def __init__(self, store: ObjectStore, prefix: str = "") -> None:
        """Keep objects in `store` under `prefix`, which is empty or ends with a slash.

        Args:
            store: Such as `obstore.store.from_url("s3://bucket")`; give it a `retry_config` that
                fits who waits: its own patience is three minutes.
            prefix: Names in calls and answers are without it.
        """
        assert not prefix or prefix.endswith("/"), "a prefix names a folder"
        self._store, self._prefix = store, prefix

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        """Store an object durably; see the port.

        Up to 128 MiB the object is held in memory, and sent in one request that the service
        refuses if the name is taken.  Longer ones go in parts; if two writers put different long
        objects under one new name at the same time, the later one stays.  Our long objects are
        packs, whose names are their digests.

        A damaged pack or index file is overwritten, by nothing but the bytes that its name
        promises: these were hashed before the request that makes them visible, and whoever does
        the same at the same time sends the same bytes.
        """
        path = self._path(name)
        found = self._look(name, size_bytes=size_bytes, sha256=sha256)
        if found == "same":
            return
        pieces = _checked(name, content, size_bytes=size_bytes, sha256=sha256)
        with self._mapped(name):
            if size_bytes > _ONE_REQUEST_BYTES:
                obstore.put(self._store, path, pieces, use_multipart=True)
                return
            content_bytes = b"".join(pieces)
            try:
                mode: Literal["create", "overwrite"]
                mode = "create" if found == "absent" else "overwrite"
                obstore.put(self._store, path, content_bytes, mode=mode)
            except AlreadyExistsError:
                found = self._look(name, size_bytes=size_bytes, sha256=sha256)
                assert found == "same", "only the same object was put meanwhile, and none deleted"

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        assert offset >= 0, "a range starts in the object"
        path = self._path(name)
        with self._mapped(name):
            if length <= 0:
                obstore.head(self._store, path)
                return b""
            try:
                return bytes(obstore.get_range(self._store, path, start=offset, length=length))
            except GenericError:
                # A range behind the end has no answer of its own.
                if offset >= obstore.head(self._store, path)["size"]:
                    return b""
                raise

    def read(self, name: str) -> bytes:
        """Return a whole object; see the port."""
        path = self._path(name)
        with self._mapped(name):
            return bytes(obstore.get(self._store, path).bytes())

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order; see the port."""
        path = self._path(name)
        with self._mapped(name):
            for block in obstore.get(self._store, path).stream(min_chunk_size=_BLOCK_BYTES):
                if len(block):
                    yield memoryview(block)

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size; see the port."""
        path = self._path(name)
        with self._mapped(name):
            return ObjectInfo(name=name, size_bytes=obstore.head(self._store, path)["size"])

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name."""
        if isinstance(self._store, LocalStore):  # lists in the order of the file system
            return iter(sorted(self._names(prefix, start_after), key=lambda info: info.name))
        return self._names(prefix, start_after)

    def delete(self, name: str) -> None:
        """Remove an object; do nothing if it is absent."""
        path = self._path(name)
        with contextlib.suppress(ObjectAbsent), self._mapped(name):
            obstore.delete(self._store, path)

    def _names(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        # The library compares whole parts of names, the port texts.
        folder = (self._prefix + prefix).rpartition("/")[0] or None
        # Cut before what the library would write in another way; the rest is left out below.
        offset = _plain_start(self._prefix + start_after) if start_after else None
        with self._mapped(prefix):
            # S3 begins its list there; for Azure the library reads what is before, and drops it.
            for page in obstore.list(self._store, folder, offset=offset, chunk_size=_LISTED):
                for found in page:
                    if not found["path"].startswith(self._prefix + prefix):
                        continue
                    name = found["path"].removeprefix(self._prefix)
                    if name <= start_after:
                        continue
                    yield ObjectInfo(name=name, size_bytes=found["size"])

    def _path(self, name: str) -> str:
        name_parts(name)
        return self._prefix + name

    def _look(self, name: str, *, size_bytes: int, sha256: str) -> _Found:
        """Return what is stored under the name of this object.

        Damaged is what has the name of a pack or index file and other bytes than the name
        promises, where this object has just those.

        Raises:
            ObjectExists: Another object has its name.
        """
        try:
            is_same = self.head(name).size_bytes == size_bytes and self._digest(name) == sha256
        except ObjectAbsent:
            return "absent"
        if not is_same and promised_digest(name) != sha256:
            raise ObjectExists(name)
        return "same" if is_same else "damaged"

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        for block in self.blocks(name):
            digest.update(block)
        return digest.hexdigest()

    @contextlib.contextmanager
    def _mapped(self, name: str) -> Iterator[None]:
        """Turn the library's errors into ours; their texts name keys, so they stay behind."""
        try:
            yield
        except FileNotFoundError:
            raise ObjectAbsent(name) from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise NotAuthorised("the object store does not allow it; check its key") from error
        except BaseError as error:
            raise Unreachable(
                f"the object store failed ({type(error).__name__}); try again later"
            ) from error


def _plain_start(name: str) -> str:
    found = _PLAIN.match(name)
    assert found is not None, "nothing is plain too"
    return found[0]


def _checked(
    name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
) -> Iterator[bytes]:
    """Yield the content; raise before its end when it is not what was announced."""
    digest = hashlib.sha256()
    sent_bytes = 0
    for piece in content:
        # The library sends several parts at once, and the sender reuses its buffer: hence a copy.
        block = bytes(piece)
        sent_bytes += len(block)
        if sent_bytes > size_bytes:
            raise ObjectCorrupt(name, check="longer than announced")
        digest.update(block)
        yield block
    if sent_bytes < size_bytes:
        raise ObjectCorrupt(name, check="shorter than announced")
    if digest.hexdigest() != sha256:
        raise ObjectCorrupt(name, check="SHA-256 differs")
