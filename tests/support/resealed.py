"""A pack sealed a second time: the same chunks at the same places, under another name."""

from overland.crypto.aead import TAG_BYTES, pack_cipher
from overland.crypto.secrets import Secret
from overland.format import pack

__all__ = ["resealed"]


def resealed(data: bytes, subkey: Secret, *, salt: bytes) -> bytes:
    """Return the pack `data` as the holder of the subkey `segment` seals it with another salt."""
    found = pack.decode_header(data, name="the pack")
    trailer = pack.decode_trailer(
        data[-pack.TRAILER_BYTES :], name="the pack", pack_bytes=len(data)
    )
    before = pack_cipher(subkey, salt=found.salt, header=data[: pack.HEADER_BYTES])
    header = pack.encode_header(
        pack.Header(repository_id=found.repository_id, master_number=found.master_number, salt=salt)
    )
    after = pack_cipher(subkey, salt=salt, header=header)
    plain = before.open_directory(data[trailer.directory_offset : -pack.TRAILER_BYTES])
    segments = pack.decode_directory(plain, name="the pack", pack_bytes=len(data)).segments
    body = bytearray(header)
    for number, row in enumerate(segments):
        start, length = int(row["offset"]), int(row["sealed_bytes"])
        room = memoryview(bytearray(length))
        after.seal_segment(number, before.open_segment(number, data[start : start + length]), room)
        body += room
    assert len(body) == trailer.directory_offset, "each seal takes the same room"
    assert len(plain) + TAG_BYTES == trailer.directory_sealed_bytes, "the directory too"
    return bytes(body + after.seal_directory(plain) + data[-pack.TRAILER_BYTES :])
