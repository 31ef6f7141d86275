"""Somebody with a copy of the home folder, who can write to the vault, as the provider can."""

import hashlib
import os
from pathlib import Path
from typing import Final
from uuid import UUID

from tests.simulation.actions.steady import SteadyDisk
from tests.simulation.actions.world import CHEAP, World, repository_of
from tests.support.backed_up import SMALL_CHUNKS

from overland.adapters.folderobjects import FolderObjects
from overland.agent import signing
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.backup.upload import Uploader
from overland.agent.home import AgentHome
from overland.agent.keys import KeyringBehind, ready_to_seal
from overland.agent.setup import load_keys
from overland.agent.signing import SigningKeyBehind
from overland.agent.signingcloud import enter_change
from overland.crypto.keyring import encode_keyring, former_signers_of
from overland.crypto.keyringproof import renumbered
from overland.crypto.keys import with_both
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key, sign
from overland.errors import NotAuthorised, SigningKeyRetired
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    KeyChange,
    encode_key_change,
    name_of,
)
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    Replacement,
    encode_replacement,
)
from overland.format.signed import encode_signed
from overland.ports.http import RefusedByCloud
from overland.ports.progress import NullProgress
from overland.values import PointId, ReplacementId, keyring_name, replacement_name

__all__ = ["Thief"]

_FIRST: Final = 0x9000
"""Their points have numbers of their own."""
_DATE_NS: Final = 1_700_000_000 * 10**9


class Thief:
    """What was copied, and what is done with it."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._source = world, folder / "evil"
        self._source.mkdir(exist_ok=True)
        disk = SteadyDisk()
        for info in world.home.files.names():
            disk.write(info.name, world.home.files.read(info.name))
        self._home = AgentHome(disk)
        self._keys = load_keys(self._home)
        self._number = len(former_signers_of(self._keys.document)) + 1

    @property
    def is_too_late(self) -> bool:
        """Whether the stolen key has ended, as far as the owner can see to it."""
        return len(self._world.model.changes) >= self._number

    @property
    def _is_half_way(self) -> bool:
        """Whether nobody can tell from here: the cloud may have entered a change already."""
        return self._world.home.is_signing_key_changing()

    def put_point(self, base: PointId | None) -> PointId:
        """Put a recovery point into the vault that opens and is signed with the stolen keys."""
        world = self._world
        point_id = PointId(str(UUID(int=_FIRST + len(world.model.forged))))
        world.model.forged.add(point_id)
        (self._source / "evil").write_text(point_id)
        for path in (self._source / "evil", self._source):
            os.utime(path, ns=(_DATE_NS, _DATE_NS))  # the file system's clock would not replay
        plan = BackupPlan(
            point_id=point_id,
            kind="incremental" if base else "full",
            seed_id=None,
            base=base,
            roots=(self._source,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy="documents",
            host="source",
            sizes=SMALL_CHUNKS,
            pack_bytes=1 << 17,
            workers=1,
        )
        spool, state = SteadyDisk(is_scratch=True), SteadyDisk()
        # The provider's own way into the storage: neither tokens nor power cuts matter to it.
        vault = FolderObjects(world.disk, prefix=world.prefix)
        with Uploader(vault, spool, clock=world.clock) as uploader:
            back_up(
                plan,
                repository=repository_of(
                    self._keys, self._home.files, state=state, random=world.chance
                ),
                out=spool,
                clock=world.clock,
                progress=NullProgress(),
                stored=[vault],
                on_published=uploader.submit,
                acknowledge=uploader.drain,
            )
        world.model.take(world.held())
        return point_id

    def publish(self, point_id: PointId) -> str:
        """Have a point entered: with the stolen token, and if that has ended, by the provider."""
        world = self._world
        try:
            world.door.require_computer(self._home.registration().token)
            how = "with the token"
        except NotAuthorised:
            how = "by the provider"
        assert how == "by the provider" or not self.is_too_late, "the stolen token has ended"
        try:
            world.record("documents", point_id, world.chains().chain_version)
        except SigningKeyRetired:
            assert self.is_too_late or self._is_half_way, "the key counts still"
            return f"refused {how}"
        assert not self.is_too_late, "a point by a stolen key was entered"
        return f"entered {how}"

    def replace_everything(self) -> str:
        """Put a replacement that lets all packs go, and have it accepted, by the provider even."""
        world = self._world
        replacement_id = ReplacementId(str(world.chance.uuid()))
        packs = sorted(name for name in world.held() if name.startswith("packs/"))
        body = encode_replacement(
            Replacement(
                replacement_id=replacement_id,
                repository_id=self._keys.document.repository_id,
                created_at=world.clock.now(),
                reason="repack",
                keeps=sorted(world.model.promised),
                lost=[],
                replaced=packs,
                objects=[],
            )
        )
        data = encode_signed(
            REPLACEMENT_PURPOSE,
            body,
            public_key=public_key(self._keys.signing),
            sign=lambda text: sign(self._keys.signing, REPLACEMENT_PURPOSE, text),
        )
        name, digest = replacement_name(replacement_id), hashlib.sha256(data).hexdigest()
        world.vault.put(name, [data], size_bytes=len(data), sha256=digest)
        world.model.take(world.held())
        try:
            world.cloud.accept(replacement_id)
        except SigningKeyRetired:
            return "a replacement refused"
        raise AssertionError("a replacement by a stolen key was accepted")

    def change_key(self) -> None:
        """Try to replace the signing key himself; there is nothing that lets him."""
        world, registered = self._world, self._home.registration()
        credentials = world.door.credentials()  # at worst, somebody gives him genuine ones
        new = Secret(world.chance(32))
        change = KeyChange(
            repository_id=self._keys.document.repository_id,
            vault_id=registered.vault_id,
            number=self._number,
            old_public_key=self._keys.document.signing_public_key,
            new_public_key=public_key(new).hex(),
            chain_version=world.chains().chain_version,
            token_sha256=hashlib.sha256(credentials.registration_token.encode()).hexdigest(),
            vouched=[],
        )
        data = encode_key_change(
            change,
            sign_old=lambda text: sign(self._keys.signing, KEY_CHANGE_PURPOSE, text),
            sign_new=lambda text: sign(new, KEY_CHANGE_NEW_PURPOSE, text),
        )
        name, digest = name_of(data, self._number), hashlib.sha256(data).hexdigest()
        world.vault.put(name, [data], size_bytes=len(data), sha256=digest)
        world.model.take(world.held())
        tokens = [registered.token]
        if self.is_too_late:
            tokens.append(credentials.registration_token)
        for token in tokens:
            try:
                enter_change(
                    world.door.http(token),
                    source_computer_id=registered.source_computer_id,
                    number=self._number,
                    sha256=digest,
                )
            except (RefusedByCloud, NotAuthorised):
                continue
            raise AssertionError("the signing key was changed by whoever stole it")

    def put_keyring(self, above: int) -> None:
        """Put a keyring of his own above all, with a passphrase and a kit of his own."""
        top = max(info.name for info in self._world.vault.names("keys/"))
        number = int(top[len("keys/") : -len(".keyring")]) + above
        made, _ = with_both(
            self._keys.document,
            self._keys.master,
            "the passphrase of a thief",
            random=self._world.chance,
            cost=CHEAP,
        )
        data = encode_keyring(renumbered(made, self._keys.master, generation=number))
        self._world.openers.note_foreign(data)
        digest = hashlib.sha256(data).hexdigest()
        name = keyring_name(number)
        self._world.vault.put(name, [data], size_bytes=len(data), sha256=digest)
        self._world.model.take(self._world.held())

    def act_as_the_computer(self) -> None:
        """Do what the program does in an old home folder, with genuine credentials even."""
        world = self._world
        try:
            ready_to_seal(self._home, world.vault)
        except KeyringBehind:
            pass
        else:
            raise AssertionError("an old home folder goes on sealing")
        credentials = world.door.credentials()
        http = world.door.http(credentials.registration_token)
        try:
            signing.register_again(self._home, credentials, http=http)
        except SigningKeyBehind:
            return
        raise AssertionError("an old home folder registers again")
