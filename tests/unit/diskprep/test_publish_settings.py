"""Publish settings: both published variants are understood, everything else says what it is."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.diskprep.publish_settings import (
    ManagementCertificateBroken,
    PublishSettingsInvalid,
    SubscriptionNotInFile,
    WebDeployProfile,
    parse_publish_settings,
)

NOW = datetime(2027, 3, 1, tzinfo=UTC)
ID = "11111111-2222-3333-4444-555555555555"
PEM = "-----BEGIN CERTIFICATE-----\n"
OURS = f"""<?xml version="1.0" encoding="utf-8"?>
<PublishData xmlns:overland="urn:overland:publish-settings:1">
  <PublishProfile SchemaVersion="2.0" PublishMethod="AzureServiceManagementAPI">
    <Subscription
      ServiceManagementUrl="https://cloud.example.org:8443/"
      Id="{ID}"
      Name="Harbour"
      ManagementCertificate=""
      overland:Token="t0ken"
      overland:CaCertificate="{base64.b64encode(PEM.encode()).decode()}"
      overland:Expires="2027-03-15T12:00:00+00:00" />
  </PublishProfile>
</PublishData>
"""
PFX = base64.b64encode(b"\x30\x0a\x02\x01\x03secret!").decode()
VARIANT_1 = f"""<PublishData>
  <PublishProfile PublishMethod="AzureServiceManagementAPI"
                  Url="https://management.core.chinacloudapi.cn/" ManagementCertificate="{PFX}">
    <Subscription Id="{ID}" Name="Example A" />
    <Subscription Id="11111111-1111-1111-1111-111111111111" Name="Example B" />
  </PublishProfile>
</PublishData>"""
VARIANT_2 = f"""<PublishData>
  <PublishProfile SchemaVersion="2.0" PublishMethod="AzureServiceManagementAPI">
    <Subscription ServiceManagementUrl="https://management.core.windows.net" Id="{ID}"
                  Name="Example A" ManagementCertificate="{PFX}" />
  </PublishProfile>
</PublishData>"""


def test_our_own_file_leads_to_the_cloud_that_wrote_it() -> None:
    access = parse_publish_settings(OURS.encode()).access(ID.upper(), now=NOW)

    assert access.url == "https://cloud.example.org:8443"
    assert (access.token, access.ca_pem, access.name) == ("t0ken", PEM, "Harbour")
    assert access.expires_at == datetime(2027, 3, 15, 12, tzinfo=UTC)
    assert "t0ken" not in repr(access)


def test_an_expired_file_says_when_it_expired() -> None:
    settings = parse_publish_settings(OURS.encode())

    with pytest.raises(PublishSettingsInvalid, match="2027-03-15"):
        settings.access(ID, now=datetime(2027, 3, 15, 12, tzinfo=UTC))


@pytest.mark.requirement("R7")
def test_both_published_variants_give_endpoint_and_subscriptions() -> None:
    first = parse_publish_settings(VARIANT_1.encode()).subscriptions
    second = parse_publish_settings(VARIANT_2.encode()).subscriptions

    assert [each.url for each in first] == ["https://management.core.chinacloudapi.cn"] * 2
    assert [each.name for each in first] == ["Example A", "Example B"]
    assert [each.url for each in second] == ["https://management.core.windows.net"]
    assert PFX not in repr(first + second)


@pytest.mark.parametrize("document", [VARIANT_1, VARIANT_2, OURS], ids=["1", "2", "ours"])
@pytest.mark.requirement("R55")
def test_a_private_key_in_the_file_is_noticed_and_not_kept(document: str) -> None:
    settings = parse_publish_settings(document.encode())

    assert settings.holds_private_key == (document != OURS)
    assert PFX not in repr(settings)
    assert not any(
        PFX in str(getattr(each, name))
        for each in settings.subscriptions
        for name in each.__dataclass_fields__
    )


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ("not base64!", "not Base64"),
        (base64.b64encode(b"PFX").decode(), "does not begin"),
        (base64.b64encode(b"\x30\x82\x09\x00\x02\x01\x03rest").decode(), "missing"),
        (base64.b64encode(b"\x30\x0a\x02\x01\x02secret!").decode(), "another version"),
        (base64.b64encode(b"\x30\x0a\x02\x01\x03secret! and more").decode(), "missing"),
    ],
    ids=["no-base64", "no-sequence", "cut", "version", "longer"],
)
def test_a_broken_certificate_has_its_own_error(certificate: str, why: str) -> None:
    for document in (VARIANT_1, VARIANT_2):
        with pytest.raises(ManagementCertificateBroken, match=why):
            parse_publish_settings(document.replace(PFX, certificate).encode())


@pytest.mark.requirement("R13")
def test_a_web_deployment_profile_has_its_own_error() -> None:
    web = b'<publishData><publishProfile publishMethod="MSDeploy"/></publishData>'
    with pytest.raises(WebDeployProfile, match="web deployment profile"):
        parse_publish_settings(web)


@pytest.mark.requirement("R55")
def test_a_management_certificate_is_not_used() -> None:
    with pytest.raises(PublishSettingsInvalid, match="management certificate"):
        parse_publish_settings(VARIANT_2.encode()).access(ID, now=NOW)


@pytest.mark.requirement("R15")
def test_a_foreign_subscription_is_named() -> None:
    with pytest.raises(SubscriptionNotInFile):
        parse_publish_settings(OURS.encode()).access("0" * 36, now=NOW)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("<publishData><publishProfile/></publishData>", "web deployment"),
        ("<Project/>", "<Project>"),
        ("", "not XML"),
        ("{}", "not XML"),
        ("<PublishData/>", "no subscription"),
        (VARIANT_2.replace("AzureServiceManagementAPI", "MSDeploy"), "MSDeploy"),
        (OURS.replace(f'Id="{ID}"', ""), "no Id"),
        (OURS.replace('CaCertificate="', 'CaCertificate="?'), "CaCertificate"),
        (OURS.replace("2027-03-15T", "soon"), "Expires"),
        ('<!DOCTYPE PublishData [<!ENTITY a "b">]><PublishData>&a;</PublishData>', "document type"),
        ("<PublishData>" + "<a/>" * 10_001 + "</PublishData>", "more than"),
        ("<PublishData>" + " " * (1 << 20) + "</PublishData>", "more than"),
    ],
)
@pytest.mark.requirement("R13")
def test_anything_else_is_refused_with_the_reason(document: str, why: str) -> None:
    with pytest.raises(PublishSettingsInvalid, match=why):
        parse_publish_settings(document.encode())


@given(position=st.integers(0, len(OURS) - 1), byte=st.integers(0, 255))
def test_no_damage_raises_anything_but_a_refusal(position: int, byte: int) -> None:
    document = bytearray(OURS.encode())
    document[position] = byte
    try:
        parse_publish_settings(bytes(document))
    except PublishSettingsInvalid:
        return
