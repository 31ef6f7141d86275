"""A signed document is one thing only: of one purpose, signer, repository, seed and vault."""

from dataclasses import replace

import pytest
from msgspec import structs
from tests.support import format_samples as sample
from tests.support.landed import VAULT, Computer, MemorySpaces, Seed

from overland.cloud import grants
from overland.crypto import registration, sign
from overland.crypto.registration import Claim
from overland.errors import IntegrityError, SignatureInvalid
from overland.format import point
from overland.format.replacement import REPLACEMENT_PURPOSE
from overland.format.seed_manifest import DRIVE_MANIFEST_PURPOSE, SEED_MANIFEST_PURPOSE
from overland.format.signed import decode_signed, encode_signed
from overland.values import SeedId
from overland.vault.owner import Foreign, open_manifest, open_point

NOTHING = MemorySpaces().open(VAULT)  # no former key, no list to read

PURPOSES = (
    point.SIGNATURE_PURPOSE,
    SEED_MANIFEST_PURPOSE,
    DRIVE_MANIFEST_PURPOSE,
    REPLACEMENT_PURPOSE,
    registration.PURPOSE,
    grants.PURPOSE,
)


def test_every_kind_of_document_has_its_own_purpose() -> None:
    assert len(set(PURPOSES)) == len(PURPOSES)
    assert not [a for a in PURPOSES for b in PURPOSES if a != b and b.startswith(a)]


@pytest.mark.parametrize("made_for", PURPOSES)
@pytest.mark.parametrize("used_for", PURPOSES)
def test_a_signature_holds_for_its_purpose_only(made_for: str, used_for: str) -> None:
    key = sample.signer()
    signature = sign.sign(key, made_for, b"body")
    if made_for == used_for:
        sign.verify(sign.public_key(key), used_for, b"body", signature)
    else:
        with pytest.raises(SignatureInvalid):
            sign.verify(sign.public_key(key), used_for, b"body", signature)


def test_a_manifest_of_another_purpose_is_no_seed_manifest() -> None:
    seed = Seed()
    body = decode_signed(seed.document, SEED_MANIFEST_PURPOSE, name="m").body
    key = seed.computer.key
    relabelled = encode_signed(
        SEED_MANIFEST_PURPOSE,
        body,
        public_key=sign.public_key(key),
        sign=lambda text: sign.sign(key, DRIVE_MANIFEST_PURPOSE, text),
    )
    with pytest.raises(SignatureInvalid):
        open_manifest(relabelled, owner=seed.computer.owner, seed_id=seed.seed_id, store=NOTHING)


def test_the_manifest_of_an_older_seed_is_not_that_of_a_newer() -> None:
    seed = Seed()
    other = SeedId("99999999-9999-4999-8999-999999999999")
    with pytest.raises(Foreign, match="seed id"):
        open_manifest(seed.document, owner=seed.computer.owner, seed_id=other, store=NOTHING)


def test_a_manifest_that_brings_its_own_key_is_not_the_owners() -> None:
    seed, thief = Seed(), Computer(number=2)
    body = decode_signed(seed.document, SEED_MANIFEST_PURPOSE, name="m").body
    with pytest.raises(SignatureInvalid):
        open_manifest(
            seed.signed(body, by=thief),
            owner=seed.computer.owner,
            seed_id=seed.seed_id,
            store=NOTHING,
        )


def test_a_manifest_of_another_repository_of_the_same_signer_is_foreign() -> None:
    seed = Seed()
    owner = replace(seed.computer.owner, repository_id=sample.REPOSITORY)
    with pytest.raises(Foreign, match="repository id"):
        open_manifest(seed.document, owner=owner, seed_id=seed.seed_id, store=NOTHING)


def test_a_recorded_point_is_the_owners_of_this_repository_and_this_id() -> None:
    mine, thief = Computer(number=1), Computer(number=2)
    point_id, data = mine.point(5, [])
    assert open_point(data, owner=mine.owner, point_id=point_id, store=NOTHING).point_id == point_id
    _, forged = thief.point(5, [])
    with pytest.raises(SignatureInvalid):
        open_point(forged, owner=mine.owner, point_id=point_id, store=NOTHING)
    other_id, _ = mine.point(6, [])
    with pytest.raises(Foreign, match="point id"):
        open_point(data, owner=mine.owner, point_id=other_id, store=NOTHING)
    elsewhere = replace(mine.owner, repository_id=sample.REPOSITORY)
    with pytest.raises(Foreign, match="repository id"):
        open_point(data, owner=elsewhere, point_id=point_id, store=NOTHING)


def test_no_byte_of_a_signed_document_can_be_changed() -> None:
    seed = Seed()
    for data, read in (
        (
            seed.document,
            lambda found: open_manifest(
                found, owner=seed.computer.owner, seed_id=seed.seed_id, store=NOTHING
            ),
        ),
        (
            Computer().point(5, [])[1],
            lambda found: open_point(
                found,
                owner=Computer().owner,
                point_id=Computer().point(5, [])[0],
                store=NOTHING,
            ),
        ),
    ):
        for at in range(0, len(data), 3):
            changed = bytearray(data)
            changed[at] ^= 0x20
            with pytest.raises(IntegrityError):
                read(bytes(changed))
        with pytest.raises(IntegrityError):
            read(data + b"\n")


CLAIM = Claim(
    vault_id="vault-1",
    name="srv-1",
    repository_id=sample.REPOSITORY,
    signing_public_key=sign.public_key(sample.signer()).hex(),
    token_sha256="a" * 64,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vault_id", "vault-2"),
        ("name", "srv-2"),
        ("repository_id", "11111111-2222-3333-4444-555555555555"),
        ("signing_public_key", sign.public_key(Computer().key).hex()),
        ("token_sha256", "b" * 64),
    ],
)
def test_a_registration_proves_one_claim(field: str, value: str) -> None:
    proof = registration.prove(CLAIM, sample.signer())
    registration.verify(CLAIM, proof)
    with pytest.raises(SignatureInvalid):
        registration.verify(structs.replace(CLAIM, **{field: value}), proof)


@pytest.mark.parametrize("change", [str.upper, lambda t: t + " ", lambda t: t[:2] + " " + t[2:]])
def test_a_proof_has_one_text(change: object) -> None:
    proof = registration.prove(CLAIM, sample.signer())
    assert callable(change)
    with pytest.raises(SignatureInvalid):
        registration.verify(CLAIM, change(proof))


def test_fields_of_a_claim_cannot_run_into_each_other() -> None:
    proof = registration.prove(structs.replace(CLAIM, vault_id="ab", name="c"), sample.signer())
    with pytest.raises(SignatureInvalid):
        registration.verify(structs.replace(CLAIM, vault_id="a", name="bc"), proof)
