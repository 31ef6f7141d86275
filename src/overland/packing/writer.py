"""Sealed segments become packs.  Sees ciphertext, keyed ids and lengths only.

A pack is hashed while it is written, so that its bytes are touched once; nothing of it is seen
under its name before `publish`.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np

from overland.format.index import PackDirectory
from overland.format.pack import (
    CHUNK_DTYPE,
    HEADER_BYTES,
    SEGMENT_DTYPE,
    Directory,
    Trailer,
    encode_directory,
    encode_trailer,
)
from overland.packing.tables import Records
from overland.ports.files import Files, NewFile
from overland.values import PackId, pack_name

__all__ = ["MAX_PACK_CHUNKS", "FinishedPack", "PackWriter"]

MAX_PACK_CHUNKS: Final = 1 << 16
"""A pack of tiny files is closed early, so that its directory stays below 3 MiB."""


@final
class FinishedPack:
    """A whole pack that has no name yet."""

    def __init__(self, file: NewFile, *, directory: PackDirectory) -> None:
        self._file = file
        self.directory = directory

    def publish(self) -> None:
        """Make the pack durable under its name.

        Raises:
            OutOfSpace: The medium is full; nothing was published.
            OSError: The device failed; nothing was published.
        """
        self._file.publish(pack_name(self.directory.pack_id))

    def abandon(self) -> None:
        """Forget the pack, if it is not published."""
        self._file.abandon()


@final
class PackWriter:
    """One pack being written."""

    def __init__(self, files: Files, *, header: bytes) -> None:
        """Begin a pack with its sealed parts' `header`.

        Args:
            files: Where the pack will lie.
            header: The encoded header (`HEADER_BYTES`).
        """
        assert len(header) == HEADER_BYTES, "the encoded header"
        self._file = files.create()
        self._sha256 = hashlib.sha256()
        self._segments: list[tuple[int, int, int, int]] = []
        self._chunks: list[Records] = []
        self.chunk_count = 0
        self.size_bytes = 0
        self._write(header)

    def append(
        self,
        sealed: memoryview,
        *,
        raw_bytes: int,
        codec: int,
        ids: Sequence[bytes],
        lengths: Sequence[int],
    ) -> None:
        """Add the next segment and the chunks in it, which lie back to back from its start.

        Raises:
            OutOfSpace: The medium is full.
            OSError: The device failed.
        """
        assert sum(lengths) == raw_bytes, "chunks fill their segment"
        rows = np.empty(len(ids), CHUNK_DTYPE)
        rows["id"] = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 32)
        rows["segment"] = len(self._segments)
        rows["length"] = lengths
        rows["offset"] = np.cumsum(rows["length"]) - rows["length"]
        self._segments.append((self.size_bytes, len(sealed), raw_bytes, codec))
        self._chunks.append(rows)
        self.chunk_count += len(ids)
        self._write(sealed)

    def finish(self, seal_directory: Callable[[bytes], bytes]) -> FinishedPack:
        """Write directory and trailer; return the pack, whole but without a name.

        Raises:
            OutOfSpace: The medium is full.
            OSError: The device failed.
        """
        assert self._segments, "a pack holds at least one segment"
        directory = self._directory()
        sealed = seal_directory(encode_directory(directory))
        trailer = Trailer(
            directory_offset=self.size_bytes,
            directory_sealed_bytes=len(sealed),
            segment_count=len(directory.segments),
            chunk_count=len(directory.chunks),
        )
        self._write(sealed)
        self._write(encode_trailer(trailer))
        described = PackDirectory(
            pack_id=PackId(self._sha256.hexdigest()),
            pack_bytes=self.size_bytes,
            directory=directory,
        )
        return FinishedPack(self._file, directory=described)

    def abandon(self) -> None:
        """Forget the pack."""
        self._file.abandon()

    def _directory(self) -> Directory:
        segments = np.zeros(len(self._segments), SEGMENT_DTYPE)
        columns = zip(*self._segments, strict=True)
        for field, column in zip(
            ("offset", "sealed_bytes", "raw_bytes", "codec"), columns, strict=True
        ):
            segments[field] = column
        return Directory(segments=segments, chunks=np.concatenate(self._chunks))

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)
