"""Identity files: what is written is read, and nothing else is."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.agent.certificaterefusals import IdentityFileInvalid
from overland.agent.offlineidentity import (
    MAX_IDENTITY_BYTES,
    OfflineIdentity,
    encode_identity,
    parse_identity,
)

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
IDENTITY = OfflineIdentity(
    tenant_id="11111111-1111-4111-8111-111111111111",
    client_id="22222222-2222-4222-8222-222222222222",
    user_id="33333333-3333-4333-8333-333333333333",
    subscription_id="44444444-4444-4444-8444-444444444444",
    url="https://cloud.example:8443",
    ca_pem=CA,
    storage_account="harbourdata",
    thumbprint="AB" * 20,
)
GOOD = encode_identity(IDENTITY).decode()


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.requirement("R35")
@given(ids=st.lists(st.uuids(), min_size=4, max_size=4), is_enrolled=st.booleans())
def test_what_is_written_is_read(ids: list[object], *, is_enrolled: bool) -> None:
    identity = OfflineIdentity(
        tenant_id=str(ids[0]),
        client_id=str(ids[1]),
        user_id=str(ids[2]),
        subscription_id=str(ids[3]),
        url="http://127.0.0.1:8080",
        storage_account="harbour7" if is_enrolled else "",
        thumbprint="0F" * 20 if is_enrolled else "",
    )
    assert parse_identity(encode_identity(identity)) == identity
    assert identity.application == f"AzureOfflineBackup_{ids[2]}"


def test_the_file_is_as_its_document_shows_it() -> None:
    assert GOOD.splitlines() == [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<OfflineApplicationParams Version="1">',
        "  <TenantId>11111111-1111-4111-8111-111111111111</TenantId>",
        "  <ClientId>22222222-2222-4222-8222-222222222222</ClientId>",
        "  <UserId>33333333-3333-4333-8333-333333333333</UserId>",
        "  <SubscriptionId>44444444-4444-4444-8444-444444444444</SubscriptionId>",
        "  <Url>https://cloud.example:8443</Url>",
        f"  <CaCertificate>{coded(CA)}</CaCertificate>",
        "  <StorageAccount>harbourdata</StorageAccount>",
        f"  <Thumbprint>{'AB' * 20}</Thumbprint>",
        "</OfflineApplicationParams>",
    ]


_TENANT = "<TenantId>11111111-1111-4111-8111-111111111111</TenantId>"


@pytest.mark.requirement("R35")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('Version="1"', 'Version="2"'),
        ('Version="1"', ""),
        ("OfflineApplicationParams", "PublishData"),
        (_TENANT, ""),
        (_TENANT, _TENANT * 2),
        (_TENANT, "<TenantId>x</TenantId>"),
        (_TENANT, "<TenantId><a>1</a></TenantId>"),
        (_TENANT, f"{_TENANT}text"),
        (_TENANT, f"{_TENANT}<Secret>x</Secret>"),
        (_TENANT, f"{_TENANT}<?do it?>"),
        ("<TenantId>", '<TenantId kind="x">'),
        ("<Offline", '<!DOCTYPE x [<!ENTITY a "aa">]><Offline'),
        ("https://cloud", "file://cloud"),
        ("https://cloud", "https://[cloud"),
        ("cloud.example", "x" * 400),
        ("harbourdata", "Harbour-Data"),
        ("ABAB", "xyxy"),
        (coded(CA), "!"),
        (coded(CA), coded("-----BEGIN PRIVATE KEY-----")),
        (coded(CA), coded(f"{CA}-----BEGIN RSA PRIVATE KEY-----")),
        (coded(CA), coded(CA + "A" * (64 << 10))),
        ("</OfflineApplicationParams>", ""),
        ('encoding="utf-8"', 'encoding="x-none"'),
        ("<Offline", "x" * MAX_IDENTITY_BYTES),
    ],
)
def test_another_form_is_refused(old: str, new: str) -> None:
    changed = GOOD.replace(old, new)
    assert changed != GOOD
    with pytest.raises(IdentityFileInvalid):
        parse_identity(changed.encode())
