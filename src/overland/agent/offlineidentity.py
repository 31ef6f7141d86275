"""Identity files: which application speaks for this computer, one file for each storage account.

`overland cert create-application` writes `OfflineApplicationParams.xml`, anywhere;
`overland cert enroll` reads it and keeps `OfflineApplicationParams_<account>.xml` among the
agent's records.  Neither holds a secret.  Form: `docs/format/offline-application-params-v1.md`.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import urlsplit
from uuid import UUID
from xml.parsers import expat
from xml.sax.saxutils import escape

from overland.agent.certificaterefusals import IdentityFileAbsent, IdentityFileInvalid
from overland.agent.policy import Policy
from overland.agent.settings import AgentSettings
from overland.errors import ObjectAbsent
from overland.ports.files import Files
from overland.values import ACCOUNT_NAME

__all__ = [
    "APPLICATION_PREFIX",
    "IDENTITY_FOLDER",
    "MAX_IDENTITY_BYTES",
    "OfflineIdentities",
    "OfflineIdentity",
    "encode_identity",
    "parse_identity",
    "refuse_without_identity",
]

APPLICATION_PREFIX: Final = "AzureOfflineBackup_"
IDENTITY_FOLDER: Final = "identity"
MAX_IDENTITY_BYTES: Final = 128 << 10

_ROOT: Final = "OfflineApplicationParams"
_VERSION: Final = "1"
_MAX_CERTIFICATE_CHARS: Final = 64 << 10
_LONGEST: Final = 300
_SHA1: Final = re.compile(r"[0-9A-F]{40}")
_PEM: Final = "-----BEGIN CERTIFICATE-----"
_NAME: Final = re.compile(rf"{IDENTITY_FOLDER}/{_ROOT}_({ACCOUNT_NAME.pattern})\.xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineIdentity:
    """The application that speaks for a computer.  Holds no secret.

    Attributes:
        tenant_id: Where the application is.
        client_id: The application.
        user_id: Who answers for it; part of its name.
        subscription_id: For whose storage accounts it was made.
        url: The cloud's address.
        ca_pem: The cloud's authority; empty for a cloud on this computer.
        storage_account: The account; empty before enrolment.
        thumbprint: Of the certificate that this computer made; empty before enrolment.
    """

    tenant_id: str
    client_id: str
    user_id: str
    subscription_id: str
    url: str
    ca_pem: str = ""
    storage_account: str = ""
    thumbprint: str = ""

    @property
    def application(self) -> str:
        """What the application is called."""
        return f"{APPLICATION_PREFIX}{self.user_id}"


def encode_identity(identity: OfflineIdentity) -> bytes:
    """Return the file of an identity."""
    ca = base64.b64encode(identity.ca_pem.encode()).decode()
    values = [getattr(identity, field) for _, field, _ in _FIELDS]
    rows = [
        f"  <{element}>{escape(ca if field == 'ca_pem' else value)}</{element}>\n"
        for (element, field, _), value in zip(_FIELDS, values, strict=True)
        if value
    ]
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<{_ROOT} Version="{_VERSION}">\n'
    return f"{head}{''.join(rows)}</{_ROOT}>\n".encode()


def parse_identity(document: bytes) -> OfflineIdentity:
    """Return what an identity file says.

    Document types, entities and instructions are refused before they can expand, and so is what
    the form does not name: a file with more in it was made by somebody else.

    Raises:
        IdentityFileInvalid: It is longer than 128 KiB, or of another form; the text says why.
    """
    if len(document) > MAX_IDENTITY_BYTES:
        raise IdentityFileInvalid(f"it has more than {MAX_IDENTITY_BYTES} bytes")
    texts = _Reader().read(document)
    values = {}
    for element, field, check in _FIELDS:
        text = "".join(texts.get(element, ())).strip()
        is_needed = field not in {"ca_pem", "storage_account", "thumbprint"}
        if not text and is_needed:
            raise IdentityFileInvalid(f"it has no {element}")
        values[field] = check(element, text) if text else ""
    return OfflineIdentity(**values)


class OfflineIdentities:
    """The identity files of one source computer."""

    def __init__(self, files: Files) -> None:
        """Keep them in the folder `identity` of the agent's home."""
        self._files = files

    def accounts(self) -> list[str]:
        """Return the storage accounts that have one, sorted."""
        found = (_NAME.fullmatch(info.name) for info in self._files.names(f"{IDENTITY_FOLDER}/"))
        return sorted(match[1] for match in found if match)

    def load(self, account: str) -> OfflineIdentity:
        """Return the identity for a storage account.

        Raises:
            IdentityFileAbsent: There is none.
            IdentityFileInvalid: It is damaged.
        """
        try:
            return parse_identity(self._files.read(_file_name(account)))
        except ObjectAbsent:
            raise IdentityFileAbsent(account) from None

    def save(self, identity: OfflineIdentity) -> str:
        """Store the identity of its storage account durably; return the file's name."""
        name = _file_name(identity.storage_account)
        self._files.write(name, encode_identity(identity))
        return name


def refuse_without_identity(
    policy: Policy, identities: OfflineIdentities, settings: AgentSettings
) -> None:
    """Return if an offline policy may be saved.

    A computer that has no identity file at all does without: its own token reads its own seeds
    and begins their adoption, and nothing of other computers.  From the first file on, or when
    `UseApplicationIdentity` says so, each storage account needs one.

    Raises:
        IdentityFileAbsent: The policy's account has none.
    """
    assert policy.offline is not None, "a first copy over the network needs no account"
    accounts, own = identities.accounts(), policy.offline.storage_account
    if own not in accounts and (accounts or settings.demands_application()):
        raise IdentityFileAbsent(own)


def _file_name(account: str) -> str:
    assert ACCOUNT_NAME.fullmatch(account), "callers have checked the name"
    return f"{IDENTITY_FOLDER}/{_ROOT}_{account}.xml"


class _Reader:
    """Collects the texts of the elements while the parser walks through the document."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._path: list[str] = []

    def read(self, document: bytes) -> dict[str, list[str]]:
        """Return the texts of each element under the root, by its name; a reader reads once.

        Raises:
            IdentityFileInvalid: It is not XML of the form, or has more in it than the form names.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _forbidden
        parser.ProcessingInstructionHandler = _forbidden
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._path.pop()
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(document, True)  # noqa: FBT003 - `isfinal`, positional in expat
        except expat.ExpatError as error:
            raise IdentityFileInvalid(f"it is not XML: {error}") from None
        except (LookupError, ValueError):  # from expat, of a declared encoding it cannot use
            raise IdentityFileInvalid("its encoding is unknown") from None
        return self._texts

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path:
            if name != _ROOT or attributes.get("Version") != _VERSION:
                raise IdentityFileInvalid(f'it does not begin with <{_ROOT} Version="{_VERSION}">')
        elif len(self._path) > 1 or name not in _ELEMENTS or attributes:
            raise IdentityFileInvalid(f"it has an element <{name[:_LONGEST]}> where none belongs")
        elif name in self._texts:
            raise IdentityFileInvalid(f"it has <{name}> twice")
        else:
            self._texts[name] = []
        self._path.append(name)

    def _text(self, text: str) -> None:
        if len(self._path) > 1:
            self._texts[self._path[-1]].append(text)
        elif text.strip():
            raise IdentityFileInvalid("it has text where none belongs")


def _forbidden(*_: object) -> NoReturn:
    raise IdentityFileInvalid("it has a document type or an instruction")


def _id(element: str, text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise IdentityFileInvalid(f"its {element} is no UUID") from None


def _address(element: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"https", "http"} and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address or len(text) > _LONGEST or not text.isascii():
        raise IdentityFileInvalid(f"its {element} is no address")
    return text.rstrip("/")


def _authority(element: str, text: str) -> str:
    try:
        pem = base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise IdentityFileInvalid(f"its {element} is no certificate") from None
    if not pem.startswith(_PEM) or "PRIVATE KEY" in pem or len(pem) > _MAX_CERTIFICATE_CHARS:
        raise IdentityFileInvalid(f"its {element} is no certificate")
    return pem


def _account(element: str, text: str) -> str:
    if ACCOUNT_NAME.fullmatch(text) is None:
        raise IdentityFileInvalid(f"its {element} is no name of an account")
    return text


def _digits(element: str, text: str) -> str:
    if _SHA1.fullmatch(text) is None:
        raise IdentityFileInvalid(f"its {element} is no SHA-1 in 40 digits")
    return text


_FIELDS: Final[tuple[tuple[str, str, Callable[[str, str], str]], ...]] = (
    ("TenantId", "tenant_id", _id),
    ("ClientId", "client_id", _id),
    ("UserId", "user_id", _id),
    ("SubscriptionId", "subscription_id", _id),
    ("Url", "url", _address),
    ("CaCertificate", "ca_pem", _authority),
    ("StorageAccount", "storage_account", _account),
    ("Thumbprint", "thumbprint", _digits),
)
_ELEMENTS: Final = frozenset(element for element, _, _ in _FIELDS)
