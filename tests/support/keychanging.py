"""A source computer whose signing key is changed in a real cloud, rightly and in wrong ways."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.landed import Computer, pack
from typing_extensions import override

from overland.adapters.posix import PosixFiles
from overland.agent.connection import Connection, VaultPoint
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    KeyChange,
    Vouched,
    encode_key_change,
    sorted_vouched,
)
from overland.ports.http import Reply
from overland.values import PointId, key_change_name, point_name

__all__ = ["Changing", "Draft", "NewKey"]


@dataclass(frozen=True, kw_only=True)
class NewKey(Computer):
    """The same computer with another signing key: `signs` tells which."""

    signs: int = 51

    @property
    @override
    def key(self) -> Secret:
        return Computer(number=self.signs).key


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a key change says, before it is signed; every field can be made wrong."""

    number: int = 1
    old: Computer = field(default_factory=Computer)
    new: Computer = field(default_factory=NewKey)
    signed_by: tuple[Computer, Computer] | None = None
    repository_id: str | None = None
    vault_id: str | None = None
    chain_version: int | None = None
    token: str | None = None
    vouched: Sequence[Vouched] | None = None


class Changing:
    """One computer of a cloud, whose vault and requests are at hand."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud, self.journey = cloud, Journey(cloud=cloud)
        self.computer: Computer = self.journey.seed.computer
        self.connection = Connection(self.journey.agent)
        self.files: dict[tuple[str, str], bytes] = {}
        self.token = self.credentials()

    def credentials(self) -> str:
        path = f"/v1/vaults/{self.journey.world.vault_id}/credentials"
        token: str = self.journey.admin.ok("POST", path)["registration_token"]
        return token

    @property
    def provider(self) -> PosixFiles:
        """The vault's files, for whoever owns the storage."""
        root = self.cloud.folder / "objects" / "vaults" / self.journey.world.vault_id
        return PosixFiles(root)

    def put(self, name: str, data: bytes) -> None:
        space = f"vaults/{self.journey.world.vault_id}"
        self.cloud.put_object(space, f"{self.journey.computer_id}/{name}", data)

    def put_point(
        self, number: int, base: int | None = None, *, by: Computer | None = None
    ) -> PointId:
        content = [pack(f"point {number}")]
        made = (by or self.computer).point(
            number, content, base=base, created_at=self.cloud.clock.now()
        )
        self.put(*content[0])
        self.put(point_name(made[0]), made[1])
        self.files["point", made[0]] = made[1]
        return made[0]

    def back_up(
        self, number: int, base: int | None = None, *, by: Computer | None = None
    ) -> VaultPoint:
        version = self.connection.chains().chain_version
        return self.connection.publish_point(
            self.put_point(number, base, by=by), chain_version=version
        )

    def announce_seed(self) -> None:
        """Stage the journey's seed; its manifest and its point are to be listed."""
        self.journey.stage()
        seed = self.journey.seed
        self.files["seed-manifest", seed.seed_id] = seed.document
        self.files["point", seed.point_id] = seed.contents[point_name(seed.point_id)]

    def everything(self, *, without: Sequence[str] = ()) -> list[Vouched]:
        return sorted_vouched(
            Vouched(kind=kind, id=each, sha256=hashlib.sha256(data).hexdigest())  # type: ignore[arg-type] # one of three
            for (kind, each), data in self.files.items()
            if each not in without
        )

    def make(self, draft: Draft) -> tuple[int, str, bytes]:
        """Return a change's number, digest and file."""
        version = draft.chain_version
        if version is None:
            version = self.connection.chains().chain_version
        token = draft.token or self.token
        change = KeyChange(
            repository_id=draft.repository_id or self.computer.owner.repository_id,  # type: ignore[arg-type] # as text
            vault_id=draft.vault_id or self.journey.world.vault_id,
            number=draft.number,
            old_public_key=sign.public_key(draft.old.key).hex(),
            new_public_key=sign.public_key(draft.new.key).hex(),
            chain_version=version,
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            vouched=list(self.everything() if draft.vouched is None else draft.vouched),
        )
        old, new = draft.signed_by or (draft.old, draft.new)
        data = encode_key_change(
            change,
            sign_old=lambda text: sign.sign(old.key, KEY_CHANGE_PURPOSE, text),
            sign_new=lambda text: sign.sign(new.key, KEY_CHANGE_NEW_PURPOSE, text),
        )
        return draft.number, hashlib.sha256(data).hexdigest(), data

    def enter(self, number: int, sha256: str, *, token: str | None = None) -> Reply:
        path = f"/v1/source-computers/{self.journey.computer_id}/key-changes"
        http = self.cloud.http(self.token if token is None else token)
        return http.request("POST", path, json={"number": number, "sha256": sha256})

    def change(self, draft: Draft | None = None, *, token: str | None = None) -> Reply:
        number, digest, data = self.make(draft or Draft())
        self.put(key_change_name(number, digest), data)
        return self.enter(number, digest, token=token)

    def changed(self, draft: Draft | None = None) -> str:
        """Change the key, which works; return the change's digest.  The files begin anew."""
        draft = draft or Draft()
        number, digest, data = self.make(draft)
        self.put(key_change_name(number, digest), data)
        reply = self.enter(number, digest)
        assert reply.status == 200, reply.body
        self.computer = draft.new
        self.files = {}
        return digest

    def signers(self) -> dict[str, Any]:
        path = f"/v1/source-computers/{self.journey.computer_id}"
        found: dict[str, Any] = self.journey.agent.ok("GET", path)
        return found

    def key(self) -> str:
        return str(self.signers()["signing_public_key"])

    def events(self) -> list[dict[str, Any]]:
        path = f"/v1/point-events?source_computer={self.journey.computer_id}"
        found: list[dict[str, Any]] = self.journey.admin.ok("GET", path)
        return found
