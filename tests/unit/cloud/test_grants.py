import base64
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.cloud import grants
from overland.cloud.grants import (
    PERMISSIONS,
    Grant,
    GrantExpired,
    GrantInsufficient,
    GrantInvalid,
    Permission,
)
from overland.crypto import sign
from overland.crypto.secrets import Secret

KEY = Secret(b"c" * 32)
PUBLIC = sign.public_key(KEY)
END = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOW = END - timedelta(seconds=1)
SPACE = "accounts/harbour/seeds"
VAULT = "vaults/00000000-0000-0000-0000-000000000007"

GRANT = Grant(
    grant_id="9d5c0c1e",
    subject="station pier-2",
    space=SPACE,
    prefixes=("seed-1/", "waimportexport/job-1/"),
    permissions=frozenset({"create", "read", "list"}),
    expires_at=END,
)
TOKEN = grants.issue(GRANT, private_key=KEY)


def test_a_grant_reads_back_as_it_was_issued() -> None:
    assert grants.verify(TOKEN, public_key=PUBLIC, at=NOW) == GRANT
    assert GRANT.prefix == "seed-1/"


def test_a_grant_ends_at_its_instant() -> None:
    for at in (END, END + timedelta(days=400)):
        with pytest.raises(GrantExpired) as expired:
            grants.verify(TOKEN, public_key=PUBLIC, at=at)
        assert expired.value.expired_at == END


def test_every_altered_character_is_refused() -> None:
    for at in range(len(TOKEN)):
        for other in "A-.=":
            altered = TOKEN[:at] + other + TOKEN[at + 1 :]
            if altered != TOKEN:
                with pytest.raises(GrantInvalid):
                    grants.verify(altered, public_key=PUBLIC, at=NOW)


def test_every_shortened_or_lengthened_text_is_refused() -> None:
    cut: Iterable[str] = (TOKEN[:at] for at in range(len(TOKEN)))
    for altered in (*cut, TOKEN + "A", TOKEN + "=", TOKEN + ".", " " + TOKEN, TOKEN + "\n"):
        with pytest.raises(GrantInvalid):
            grants.verify(altered, public_key=PUBLIC, at=NOW)


def test_texts_beyond_the_limit_and_beyond_ascii_are_refused() -> None:
    for text in ("og1." + "A" * 5000, "og1.\N{SNOWMAN}.A", "", "og1..", "Bearer"):
        with pytest.raises(GrantInvalid):
            grants.verify(text, public_key=PUBLIC, at=NOW)


def test_the_second_spelling_of_the_same_bytes_is_refused() -> None:
    # The last character of 64 bytes in base64 carries four bits that nobody reads.
    spare = TOKEN[-1]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = TOKEN[:-1] + letters[letters.index(spare) ^ 1]
    signature = [base64.urlsafe_b64decode(t.rpartition(".")[2] + "==") for t in (TOKEN, twin)]
    assert signature[0] == signature[1]
    with pytest.raises(GrantInvalid):
        grants.verify(twin, public_key=PUBLIC, at=NOW)


def test_a_grant_of_another_cloud_is_refused() -> None:
    other = sign.public_key(Secret(b"d" * 32))
    with pytest.raises(GrantInvalid):
        grants.verify(TOKEN, public_key=other, at=NOW)


def test_another_document_of_the_same_signer_is_no_grant() -> None:
    body = TOKEN.split(".")[1]
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    signature = base64.urlsafe_b64encode(sign.sign(KEY, "overland-other-v1", data))
    with pytest.raises(GrantInvalid):
        grants.verify(f"og1.{body}.{signature.decode().rstrip('=')}", public_key=PUBLIC, at=NOW)


def test_a_signed_body_of_another_form_is_no_grant() -> None:
    for body in (b"", b"{}", b"[1]", b'["g","s","x",[],[],1,2]', b"\xff"):
        parts = (body, sign.sign(KEY, grants.PURPOSE, body))
        text = ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts)
        with pytest.raises(GrantInvalid):
            grants.verify(f"og1.{text}", public_key=PUBLIC, at=NOW)


@pytest.mark.parametrize("held", PERMISSIONS)
@pytest.mark.parametrize("asked", PERMISSIONS)
def test_one_permission_is_never_another(held: Permission, asked: Permission) -> None:
    grant = replace(GRANT, permissions=frozenset({held}))
    if held == asked:
        grants.require(grant, asked, space=SPACE, name="seed-1/packs/a")
        return
    with pytest.raises(GrantInsufficient):
        grants.require(grant, asked, space=SPACE, name="seed-1/packs/a")


def test_names_below_each_prefix_are_reached() -> None:
    for name in ("seed-1/a", "seed-1/packs/3f/a.pack", "waimportexport/job-1/log", "seed-1/..a"):
        grants.require(GRANT, "read", space=SPACE, name=name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "seed-1",
        "seed-1/",
        "seed-12/a",
        "seed-2/a",
        "Seed-1/a",
        "waimportexport/job-2/log",
        "waimportexport/log",
        "seed-1/../seed-2/a",
        "seed-1/./a",
        "seed-1//a",
        "/seed-1/a",
        "./seed-1/a",
        "x/../seed-1/a",
        "seed-1/a/..",
        "seed-1/a\0b",
        "seed-1/a\nb",
        "seed-1/..\\..\\seed-2\\a",
        "seed-1/.overland-tmp-a",
        "seed-1/" + "a" * 256,
        "seed-1/" + "a/" * 600 + "a",
        "seed-1/\udcff",
    ],
)
def test_no_name_escapes_its_prefix(name: str) -> None:
    for permission in PERMISSIONS:
        with pytest.raises(GrantInsufficient):
            grants.require(GRANT, permission, space=SPACE, name=name)


@given(st.text(alphabet="./seed-12\\\0a", max_size=24))
def test_whatever_is_reached_lies_below_a_prefix(name: str) -> None:
    try:
        grants.require(GRANT, "read", space=SPACE, name=name)
    except GrantInsufficient:
        return
    parts = name.split("/")
    assert parts[0] == "seed-1"
    assert len(parts) > 1
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize("space", ["accounts/harbour/seed", "accounts/harbour/seeds2", VAULT, ""])
def test_no_other_space_is_reached(space: str) -> None:
    with pytest.raises(GrantInsufficient):
        grants.require(GRANT, "read", space=space, name="seed-1/a")
    with pytest.raises(GrantInsufficient):
        grants.require_listing(GRANT, space=space, prefix="seed-1/")


def test_listings_stay_below_the_prefix() -> None:
    for prefix in ("seed-1/", "seed-1/packs/3", "waimportexport/job-1/"):
        grants.require_listing(GRANT, space=SPACE, prefix=prefix)
    for prefix in ("", "seed-1", "seed-", "seed-2/", "seed-1/../", "seed-1/../seed-2/", "seed-1//"):
        with pytest.raises(GrantInsufficient):
            grants.require_listing(GRANT, space=SPACE, prefix=prefix)


def test_a_listing_needs_its_own_permission() -> None:
    grant = replace(GRANT, permissions=frozenset({"create", "read"}))
    with pytest.raises(GrantInsufficient):
        grants.require_listing(grant, space=SPACE, prefix="seed-1/")


@pytest.mark.parametrize(
    "change",
    [
        {"prefixes": ()},
        {"prefixes": ("", "seed-1/")},
        {"prefixes": ("",), "space": VAULT},
        {"prefixes": ("/",)},
        {"prefixes": ("seed-1",)},
        {"prefixes": ("seed-1/../",)},
        {"prefixes": ("a/",) * 5},
        {"space": "accounts/harbour"},
        {"space": "accounts/harbour/seeds/more"},
        {"space": "accounts/harbour/.."},
        {"space": "vaults/x"},
        {"permissions": frozenset()},
        {"permissions": frozenset({"overwrite"})},
        {"space": VAULT, "permissions": frozenset({"read", "delete"})},
        {"expires_at": END.replace(tzinfo=None)},
        {"subject": "s" * 300},
        {"grant_id": ""},
    ],
)
def test_grants_that_nobody_may_hold_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        replace(GRANT, **change)  # type: ignore[arg-type] # wrong on purpose


def test_the_largest_grant_fits_its_limit() -> None:
    part = "a" * 255
    prefix = "/".join([part] * 2) + "/"
    grant = replace(GRANT, prefixes=(prefix,) * 4, subject="s" * 200)
    token = grants.issue(grant, private_key=KEY)
    assert grants.verify(token, public_key=PUBLIC, at=NOW) == grant


SEED = "seed-11111111-aaaa-4bbb-8ccc-222222222222"
WHOLE = replace(GRANT, prefixes=("",), permissions=frozenset(PERMISSIONS))


@pytest.mark.parametrize(
    "name", ["a", "charts/a.png", "seed-1/a", "seeds", ".overland-blobs/x.json"]
)
def test_a_grant_for_a_whole_container_reaches_its_blobs(name: str) -> None:
    for permission in PERMISSIONS:
        grants.require(WHOLE, permission, space=SPACE, name=name)


@pytest.mark.parametrize(
    "name",
    [
        SEED,
        f"{SEED}/packs/a",
        f"{SEED.upper()}/packs/a",
        f"{SEED}./packs/a",
        f"{SEED} /packs/a",
        ".OVERLAND-blobs/x",
        ".overland-blobs",
        f"\N{FULLWIDTH LATIN SMALL LETTER S}{SEED[1:]}/a",
    ],
)
def test_a_grant_for_a_whole_container_changes_nothing_of_a_seed(name: str) -> None:
    for permission in ("create", "delete"):
        with pytest.raises(GrantInsufficient):
            grants.require(WHOLE, permission, space=SPACE, name=name)
    grants.require(WHOLE, "read", space=SPACE, name=name)


@pytest.mark.parametrize("name", ["", "../a", "a/../b", "/a", "a//b", "a\\b", ".overland-tmp-a"])
def test_a_grant_for_a_whole_container_reaches_nothing_outside(name: str) -> None:
    for permission in PERMISSIONS:
        with pytest.raises(GrantInsufficient):
            grants.require(WHOLE, permission, space=SPACE, name=name)
