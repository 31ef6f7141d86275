"""A key change has one form, is bounded, and is no other change under another name."""

import hashlib

import pytest
from msgspec.structs import replace
from tests.support import format_samples as sample
from tests.support.key_change_samples import change, change_file, change_name, new_signer

from overland.crypto.sign import public_key, sign, verify
from overland.errors import SignatureInvalid
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    MAX_KEY_CHANGE_BYTES,
    MAX_VOUCHED,
    KeyChange,
    KeyChangeInvalid,
    Vouched,
    decode_key_change,
    encode_key_change,
    name_of,
    sorted_vouched,
    verify_key_change,
    vouched_digests,
)
from overland.format.signed import decode_countersigned
from overland.values import RepositoryId, is_object_name, named_digest, promised_digest

OLD, NEW = public_key(sample.signer()), public_key(new_signer())
OTHER = RepositoryId("11111111-2222-3333-4444-555555555555")


def made(changed: KeyChange) -> bytes:
    return encode_key_change(
        changed,
        sign_old=lambda text: sign(sample.signer(), KEY_CHANGE_PURPOSE, text),
        sign_new=lambda text: sign(new_signer(), KEY_CHANGE_NEW_PURPOSE, text),
    )


def entry(number: int, kind: str = "point") -> Vouched:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Vouched(
        kind=kind,  # type: ignore[arg-type]  # as text
        id=f"00000000-0000-4000-8000-{number:012x}",
        sha256=digest,
    )


def test_it_is_read_as_it_was_written_and_its_name_says_its_digest() -> None:
    data, name = change_file(), change_name()
    assert verify_key_change(data, name=name, verify=verify) == change()
    assert is_object_name(name)
    assert named_digest(name) == promised_digest(f"{OTHER}/{name}") == name[-71:-7]
    assert name[-71:-7] == hashlib.sha256(data).hexdigest()


def test_no_file_has_the_name_of_another() -> None:
    other = made(replace(change(), chain_version=43))
    for name in (name_of(other, 1), name_of(change_file(), 2), "keychanges/x.change"):
        with pytest.raises(KeyChangeInvalid):
            decode_key_change(change_file(), name=name)


@pytest.mark.parametrize(
    "wanted",
    [
        {"repository_id": OTHER},
        {"old_public_key": NEW},
        {"new_public_key": OLD},
        {"new_public_key": bytes(32)},
    ],
    ids=["another repository", "another old key", "another new key", "no key"],
)
def test_a_list_is_of_one_repository_and_of_two_keys(wanted: dict[str, bytes]) -> None:
    right = {
        "repository_id": sample.REPOSITORY,
        "old_public_key": OLD,
        "new_public_key": NEW,
    }
    found = vouched_digests(change_file(), name=change_name(), **right)  # type: ignore[arg-type]  # by name
    assert found == {bytes.fromhex(each.sha256) for each in change().vouched}
    with pytest.raises(KeyChangeInvalid):
        vouched_digests(change_file(), name=change_name(), **right | wanted)  # type: ignore[arg-type]  # by name


def test_the_new_key_signs_what_the_old_one_signed() -> None:
    """Whoever has only the old key, or only the new one, makes no change."""
    data = change_file()
    first, second = decode_countersigned(
        data, KEY_CHANGE_PURPOSE, KEY_CHANGE_NEW_PURPOSE, name="change"
    )
    assert second.body.startswith(first.body)
    assert (first.public_key, second.public_key) == (OLD, NEW)
    for place in (data.index(b'"signature":"') + 20, data.rindex(b'"signature":"') + 20):
        changed = bytearray(data)
        changed[place] = ord("0") if changed[place] != ord("0") else ord("1")
        forged = bytes(changed)
        with pytest.raises(SignatureInvalid):
            verify_key_change(forged, name=name_of(forged, 1), verify=verify)
    again = made(replace(change(), chain_version=43)).splitlines(keepends=True)
    spliced = b"".join([*data.splitlines(keepends=True)[:2], again[2]])
    with pytest.raises(SignatureInvalid):
        verify_key_change(spliced, name=name_of(spliced, 1), verify=verify)


def test_the_longest_list_fits_and_one_entry_more_is_refused() -> None:
    kind = "seed-manifest"  # the longest
    full = made(replace(change(), vouched=[entry(n, kind) for n in range(MAX_VOUCHED)]))
    assert len(full) <= MAX_KEY_CHANGE_BYTES
    with pytest.raises(KeyChangeInvalid):
        made(replace(change(), vouched=[entry(n, kind) for n in range(MAX_VOUCHED + 1)]))
    long = full + bytes(MAX_KEY_CHANGE_BYTES)
    with pytest.raises(KeyChangeInvalid, match="too long"):
        decode_key_change(long, name=name_of(long, 1))


def test_a_list_is_sorted_by_kind_and_id_and_has_each_once() -> None:
    shuffled = [entry(2), entry(1, "replacement"), entry(1)]
    assert sorted_vouched(shuffled) == [entry(1), entry(2), entry(1, "replacement")]
    made(replace(change(), vouched=[]))
    twice = [entry(1), replace(entry(1), sha256="ab" * 32)]
    for wrong in (shuffled, twice):
        with pytest.raises(KeyChangeInvalid, match="sorted"):
            made(replace(change(), vouched=wrong))


@pytest.mark.parametrize("number", [0, 100, -1])
def test_a_number_has_its_bounds(number: int) -> None:
    with pytest.raises((KeyChangeInvalid, AssertionError)):
        made(replace(change(), number=number))
