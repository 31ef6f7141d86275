"""The station's home folder: which cloud it serves, and with which token.

The token opens the keys of all received drives, so the composition makes folder and files
readable by their owner only.
"""

from typing import Final, Literal

import msgspec
from typing_extensions import override

from overland.errors import ObjectAbsent, RefusedError
from overland.format.stored import decode_stored
from overland.ports.files import Files

__all__ = ["StationConfig", "StationHome", "StationNotInitialised"]

_CONFIG: Final = "station.json"


class StationNotInitialised(RefusedError):
    """The station does not know its cloud yet."""

    code = "station-not-initialised"

    def __init__(self) -> None:
        super().__init__(
            "this station does not know its cloud yet; run `overland station init "
            "--cloud-url URL --ca-file FILE --token-file FILE` first"
        )


class StationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cloud that this station serves; the token is a secret.

    `object_socket` is the way to the data plane of a cloud on this computer; empty for TLS.
    """

    format: Literal[1] = 1
    url: str
    ca_pem: str
    token: str
    object_socket: str = ""

    @override
    def __repr__(self) -> str:
        """Name the cloud, and keep the token out of logs and tracebacks."""
        return f"StationConfig({self.url!r}, token=…)"


class StationHome:
    """The stored settings of one station."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def config(self) -> StationConfig:
        """Return the settings.

        Raises:
            StationNotInitialised: `overland station init` was not run yet.
            RecordDamaged: The file is not what `save` wrote.
        """
        try:
            return decode_stored(self._files.read(_CONFIG), StationConfig, name=_CONFIG)
        except ObjectAbsent:
            raise StationNotInitialised from None

    def save(self, config: StationConfig) -> None:
        """Store the settings durably, replacing earlier ones."""
        self._files.write(_CONFIG, msgspec.json.format(msgspec.json.encode(config)) + b"\n")
