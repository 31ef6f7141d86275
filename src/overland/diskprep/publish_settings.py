"""The publish settings file: where the import service is, and leave to create one import job.

Both published variants are read (`docs/reference/publish-settings.md`): in the first, endpoint and
certificate belong to the profile, in the second (`SchemaVersion="2.0"`) to each subscription.
Endpoints come from the file and from nowhere else.  Overland's own file is the second variant with
a token and the certificate of the cloud in a name space of ours, and no management certificate:
that of a foreign file is a secret of a whole account and is not even kept in memory.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from xml.parsers import expat

from overland.errors import RefusedError

__all__ = [
    "ManagementCertificateBroken",
    "PublishSettings",
    "PublishSettingsInvalid",
    "SubscriptionAccess",
    "SubscriptionNotInFile",
    "WebDeployProfile",
    "parse_publish_settings",
]

MAX_BYTES: Final = 1 << 20
_MAX_ELEMENTS: Final = 10_000
_SHORTEST_PFX: Final = 8  # frame and version
_METHOD: Final = "AzureServiceManagementAPI"
_SEPARATOR: Final = "\n"  # between name space and name; cannot occur in either


class PublishSettingsInvalid(RefusedError):
    """The file is not a publish settings file, or not one that this program can use."""

    code = "publish-settings-invalid"

    def __init__(self, why: str) -> None:
        super().__init__(f"the publish settings file cannot be used: {why}; download it again")
        self.why = why


class WebDeployProfile(PublishSettingsInvalid):
    """A profile of a web site, which has the same suffix."""

    code = "web-deploy-profile"

    def __init__(self) -> None:
        super().__init__(
            "it is a web deployment profile, which has the same suffix; "
            "the right file begins with <PublishData>"
        )


class ManagementCertificateBroken(PublishSettingsInvalid):
    """The file was cut or changed: its certificate is not one."""

    code = "management-certificate-broken"

    def __init__(self, why: str) -> None:
        super().__init__(f"its ManagementCertificate is not a PKCS#12 file ({why})")


class SubscriptionNotInFile(RefusedError):
    """The seed's subscription does not occur in the publish settings file (R15)."""

    code = "subscription-not-in-file"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            f"subscription {subscription_id} does not occur in the publish settings file; "
            "use the file of the subscription that holds the storage account"
        )
        self.subscription_id = subscription_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionAccess:
    """One subscription of the file, and the way to it.  The token is a secret."""

    subscription_id: str
    name: str
    url: str
    token: str = field(repr=False)
    ca_pem: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSettings:
    """The subscriptions of one file, in its order.

    `holds_private_key`: the file has a management certificate, with which whoever holds the file
    rules all of its subscriptions.  The key is neither used nor kept; the operator is told.
    """

    subscriptions: tuple[SubscriptionAccess, ...]
    holds_private_key: bool = False

    def access(self, subscription_id: str, *, now: datetime) -> SubscriptionAccess:
        """Return the way to a subscription.

        Raises:
            SubscriptionNotInFile: The file does not name it.
            PublishSettingsInvalid: It holds no token of ours for it, or one that has expired.
        """
        for access in self.subscriptions:
            if access.subscription_id.lower() == subscription_id.lower():
                _refuse_unusable(access, now)
                return access
        raise SubscriptionNotInFile(subscription_id)


def parse_publish_settings(document: bytes) -> PublishSettings:
    """Return what a publish settings file says.

    Unknown elements and attributes are ignored; a document type is refused before anything in it
    is read, and so are files above 1 MiB.

    Raises:
        WebDeployProfile: It is a web site's.
        ManagementCertificateBroken: It has a certificate that is none.
        PublishSettingsInvalid: It is another kind of file; the text says which.
    """
    if len(document) > MAX_BYTES:
        raise PublishSettingsInvalid(f"it has {len(document)} bytes, more than {MAX_BYTES}")
    reader = _Reader()
    reader.read(document)
    if not reader.subscriptions:
        raise PublishSettingsInvalid("it names no subscription")
    return PublishSettings(
        subscriptions=tuple(reader.subscriptions), holds_private_key=reader.holds_private_key
    )


def _refuse_unusable(access: SubscriptionAccess, now: datetime) -> None:
    if not access.url:
        raise PublishSettingsInvalid("it does not say where the service is")
    if not access.token:
        raise PublishSettingsInvalid(
            "it holds a management certificate instead of a token for one import job"
        )
    if access.expires_at is not None and access.expires_at <= now:
        raise PublishSettingsInvalid(f"it expired at {access.expires_at:%Y-%m-%d %H:%M} UTC")


class _Reader:
    """Collects subscriptions while the parser walks through the document."""

    def __init__(self) -> None:
        self.subscriptions: list[SubscriptionAccess] = []
        self.holds_private_key = False
        self._profile: Mapping[str, str] = {}
        self._path: list[str] = []
        self._elements = 0

    def read(self, document: bytes) -> None:
        """Collect the subscriptions of a document; a reader reads once.

        Raises:
            WebDeployProfile, ManagementCertificateBroken, PublishSettingsInvalid: As
                `parse_publish_settings`.
        """
        parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(document, True)  # noqa: FBT003 - `isfinal`, positional in expat
        except expat.ExpatError as error:
            raise PublishSettingsInvalid(f"it is not XML: {error}") from None
        except (LookupError, ValueError):  # from expat, of a declared encoding it cannot use
            raise PublishSettingsInvalid("its encoding is unknown") from None

    def _doctype(self, *_: object) -> None:
        raise PublishSettingsInvalid("it has a document type declaration")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise PublishSettingsInvalid(f"it has more than {_MAX_ELEMENTS} elements")
        name = _local(tag)
        self._path.append(name)
        values = {_local(key): value.strip() for key, value in attributes.items()}
        if certificate := values.get("ManagementCertificate", ""):
            _check_certificate(certificate)
            self.holds_private_key = True
        match self._path:
            case ["PublishData"]:
                pass
            case ["publishData"]:
                raise WebDeployProfile
            case [_]:
                raise PublishSettingsInvalid(f"it begins with <{name}> instead of <PublishData>")
            case ["PublishData", "PublishProfile"]:
                self._begin_profile(values)
            case ["PublishData", "PublishProfile", "Subscription"]:
                self.subscriptions.append(_access(self._profile, values))
            case _:
                pass

    def _end(self, _tag: str) -> None:
        self._path.pop()

    def _begin_profile(self, values: Mapping[str, str]) -> None:
        method = values.get("PublishMethod", _METHOD)
        if method != _METHOD:
            raise PublishSettingsInvalid(f"its PublishMethod is {method} instead of {_METHOD}")
        self._profile = values


def _check_certificate(text: str) -> None:
    """Return if this can be a PKCS#12 file (RFC 7292 §4), judged by its outermost frame alone.

    What is in it is a secret that nobody here needs, so nothing looks further.
    """
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise ManagementCertificateBroken("it is not Base64") from None
    if content[:1] != b"\x30" or len(content) < _SHORTEST_PFX:
        raise ManagementCertificateBroken("it does not begin as one")
    width = content[1] & 0x7F if content[1] & 0x80 else 0
    size = int.from_bytes(content[2 : 2 + width], "big") if width else content[1]
    if 2 + width + size != len(content):
        raise ManagementCertificateBroken("a part of it is missing")
    if content[2 + width : 5 + width] != b"\x02\x01\x03":
        raise ManagementCertificateBroken("it is of another version")


def _access(profile: Mapping[str, str], values: Mapping[str, str]) -> SubscriptionAccess:
    subscription_id = values.get("Id", "")
    if not subscription_id:
        raise PublishSettingsInvalid("a subscription has no Id")
    return SubscriptionAccess(
        subscription_id=subscription_id,
        name=values.get("Name", ""),
        url=(values.get("ServiceManagementUrl") or profile.get("Url", "")).rstrip("/"),
        token=values.get("Token", ""),
        ca_pem=_pem(values.get("CaCertificate", "")),
        expires_at=_instant(values.get("Expires", "")),
    )


def _pem(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except ValueError:  # no Base64, or not of ASCII
        raise PublishSettingsInvalid("its CaCertificate is not a certificate") from None


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise PublishSettingsInvalid(f"its Expires is not an instant: {text}") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _local(name: str) -> str:
    return name.rpartition(_SEPARATOR)[2]
