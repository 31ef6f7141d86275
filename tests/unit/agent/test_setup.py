"""Making a source computer: keys once, never a half set, a vault to belong to."""

import hashlib
import itertools
import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.simdisk import PowerCut, SimDisk

from overland.agent.home import AgentHome, AgentNotInitialised, AgentNotRegistered
from overland.agent.setup import initialise, load_keys, parse_vault_credentials, register
from overland.crypto import sign
from overland.crypto.keyring import Argon2Parameters
from overland.crypto.keys import open_with_passphrase, open_with_recovery_kit
from overland.crypto.slots import PassphraseTooShort
from overland.errors import NotAuthorised, RefusedError
from overland.ports.http import Reply

PASSPHRASE = "correct horse battery"
CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)
NOW = datetime(2027, 3, 14, tzinfo=UTC)


def initialised(disk: SimDisk) -> str:
    _, kit = initialise(
        AgentHome(disk),
        computer_name="files",
        passphrase=PASSPHRASE,
        random=secrets.token_bytes,
        cost=CHEAP,
    )
    return kit


def test_the_keyring_opens_with_passphrase_and_with_the_kit() -> None:
    disk = SimDisk()
    kit = initialised(disk)
    keys = load_keys(AgentHome(disk))
    master = keys.master.secret.reveal()
    assert open_with_passphrase(keys.document, PASSPHRASE).secret.reveal() == master
    assert open_with_recovery_kit(keys.document, kit).secret.reveal() == master


def test_a_short_passphrase_makes_nothing() -> None:
    disk = SimDisk()
    with pytest.raises(PassphraseTooShort):
        initialise(
            AgentHome(disk),
            computer_name="files",
            passphrase="x" * 15,
            random=secrets.token_bytes,
            cost=CHEAP,
        )
    assert list(disk.names()) == []


def test_keys_are_made_once() -> None:
    disk = SimDisk()
    initialised(disk)
    with pytest.raises(RefusedError, match="already has keys"):
        initialised(disk)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 65, "a/b"])
def test_a_computer_name_keeps_its_rule(name: str) -> None:
    with pytest.raises(RefusedError, match="computer name"):
        initialise(
            AgentHome(SimDisk()),
            computer_name=name,
            passphrase=PASSPHRASE,
            random=secrets.token_bytes,
            cost=CHEAP,
        )


@pytest.mark.crash
def test_power_cut_at_every_step_of_init_leaves_all_keys_or_a_second_chance() -> None:
    for step in itertools.count():
        disk = SimDisk(cut_at=step)
        try:
            initialised(disk)
        except PowerCut:
            disk = disk.restart()
            if not AgentHome(disk).is_initialised():
                with pytest.raises(AgentNotInitialised):
                    load_keys(AgentHome(disk))
                initialised(disk)
            load_keys(AgentHome(disk))
        else:
            break


class _Cloud:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object]] = []

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        self.asked.append((method, path, json))
        body = {"source_computer_id": "s", "vault_id": "v", "token": "secret-token"}
        return Reply(status=201, body=body, raw=b"")


def credentials(**changes: str) -> bytes:
    return json.dumps(
        {
            "format": 1,
            "url": "https://127.0.0.1:1",
            "object_url": "https://127.0.0.1:2",
            "ca_pem": "pem",
            "vault_id": "v",
            "vault_name": "harbour",
            "registration_token": "secret-registration",
            "expires_at": (NOW + timedelta(days=10)).isoformat(),
            "a_field_of_a_newer_cloud": True,
        }
        | changes
    ).encode()


def test_registration_is_kept_and_its_token_never_shown() -> None:
    home = AgentHome(SimDisk())
    initialised(home.files)  # type: ignore[arg-type] # it is the disk of the line above
    with pytest.raises(AgentNotRegistered):
        home.registration()
    cloud = _Cloud()
    made = register(home, parse_vault_credentials(credentials(), now=NOW), http=cloud)
    assert home.registration() == made
    assert "secret-token" not in repr(made)
    assert "secret-registration" not in repr(parse_vault_credentials(credentials(), now=NOW))
    identity = home.identity()
    ((method, path, body),) = cloud.asked
    assert (method, path) == ("POST", "/v1/source-computers")
    assert isinstance(body, dict)
    said = {
        "name": "files",
        "repository_id": identity.repository_id,
        "signing_public_key": identity.signing_public_key,
    }
    assert {**said, "proof": body["proof"]} == body


def test_registration_is_signed_by_the_signing_key_for_this_vault_and_token() -> None:
    home = AgentHome(SimDisk())
    initialised(home.files)  # type: ignore[arg-type] # it is the disk of the line above
    cloud = _Cloud()
    register(home, parse_vault_credentials(credentials(), now=NOW), http=cloud)
    ((_, _, body),) = cloud.asked
    assert isinstance(body, dict)
    signed = json.dumps(
        {
            "name": "files",
            "repository_id": home.identity().repository_id,
            "signing_public_key": home.identity().signing_public_key,
            "token_sha256": hashlib.sha256(b"secret-registration").hexdigest(),
            "vault_id": "v",
        },
        separators=(",", ":"),
    )
    public = bytes.fromhex(home.identity().signing_public_key)
    proof = bytes.fromhex(body["proof"])
    sign.verify(public, "overland-registration-v1", signed.encode(), proof)


@pytest.mark.requirement("R136")
def test_another_vault_is_refused_so_that_no_seed_is_orphaned() -> None:
    disk = SimDisk()
    initialised(disk)
    home = AgentHome(disk)
    register(home, parse_vault_credentials(credentials(), now=NOW), http=_Cloud())
    other = parse_vault_credentials(credentials(vault_id="w"), now=NOW)
    with pytest.raises(RefusedError, match="registered with vault 'harbour'"):
        register(home, other, http=_Cloud())


@pytest.mark.requirement("R12")
def test_expired_credentials_and_foreign_files_are_told_apart() -> None:
    with pytest.raises(NotAuthorised, match="expired"):
        parse_vault_credentials(credentials(), now=NOW + timedelta(days=10))
    for foreign in (b"", b"{}", b"<xml/>", credentials()[:-1], credentials(expires_at="soon")):
        with pytest.raises(RefusedError, match="no vault credentials file"):
            parse_vault_credentials(foreign, now=NOW)
