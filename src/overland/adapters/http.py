"""Requests to one of our services, over TLS or a socket of this computer, with bounded patience.

Only the given CA is trusted; the system's list of authorities plays no part.  Tokens travel in the
`Authorization` header and nowhere else: not in URLs, logs or errors.  Redirects are not followed,
because a token belongs to one server.
"""

import json as json_text
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.response import BaseHTTPResponse

from overland.adapters.localsocket import Attachment, local_pools
from overland.crypto.secrets import Secret
from overland.errors import RefusedError, Unreachable
from overland.format.signed import MAX_DOCUMENT_BYTES
from overland.ports.http import Reply

__all__ = [
    "CertificateNotTrusted",
    "CloudAddressInvalid",
    "ReplyTooLong",
    "UrllibHttp",
    "Wire",
    "read_body",
]

_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.25  # doubled each time: a service that restarts is back within 2 s
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_REPLY_BYTES: Final = MAX_DOCUMENT_BYTES
_BUSY: Final = frozenset({502, 503, 504})
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_LOCAL_URL: Final = "http://localhost"  # names nobody: the socket is the address
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Body = bytes | Callable[[], Iterable[bytes | memoryview]] | Attachment | None
"""A request's body: bytes, or something that begins anew for each attempt."""


class CloudAddressInvalid(RefusedError, ValueError):
    """The cloud's address, its certificate or the token cannot be used; nothing was sent."""

    code = "cloud-address-invalid"


class CertificateNotTrusted(RefusedError):
    """The server has another certificate than its CA vouches for."""

    code = "certificate-not-trusted"

    def __init__(self, host: str, *, check: str) -> None:
        super().__init__(
            f"the certificate of {host} is not trusted: {check}; get new credentials from the "
            "cloud, or find out who answers in its place"
        )
        self.host, self.check = host, check


class ReplyTooLong(RefusedError):
    """A server sent more than any of our answers can have."""

    code = "reply-too-long"


class Wire:
    """Connections to one server; keeps them open, tries again, and maps what goes wrong."""

    def __init__(
        self,
        base_url: str,
        token: Secret | str | None,
        ca_pem: str | None,
        *,
        timeout_s: float,
        pause: Callable[[float], None] = time.sleep,
        local: Path | None = None,
    ) -> None:
        """Talk to `base_url`, which is https, or http to this computer itself.

        With `local` the way is that socket, and `base_url` and `ca_pem` are of no concern.

        Raises:
            CloudAddressInvalid: The address, the certificate or the token has another form.
        """
        self._base_url = base_url.rstrip("/") if local is None else _LOCAL_URL
        self.host = _checked_host(self._base_url, ca_pem) if local is None else str(local)
        self.token = _checked_token(token)
        self._pause = pause
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=timeout_s)
        if local is not None:
            self._pool = local_pools(local, timeout=timeout)
            return
        self._pool = urllib3.PoolManager(
            maxsize=16,
            retries=False,
            timeout=timeout,
            # With our CA given, none of the system's is loaded.
            ssl_context=_trusting(ca_pem) if ca_pem else None,
        )

    def send(
        self, method: str, path: str, *, headers: dict[str, str], body: Body = None
    ) -> BaseHTTPResponse:
        """Send a request; return the answer with its body unread, whatever its status.

        Methods that may be repeated are, when nobody answers or the server is busy; others only
        when no connection came about.

        Raises:
            Unreachable: There was no answer, or a busy server's, each time.
            CertificateNotTrusted: Somebody answered who is not the server.
            SocketUnsafe: Others could answer on the socket, or it is not open to this user.
        """
        for attempt in range(_ATTEMPTS):
            is_last = attempt == _ATTEMPTS - 1
            try:
                response = self._send_once(method, path, headers, body)
            except HTTPError as error:
                self._give_up(method, error, is_last=is_last)
            else:
                if response.status not in _BUSY or method not in _IDEMPOTENT or is_last:
                    return response
                response.close()
            self._pause(_FIRST_PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt answers or raises")

    def _send_once(
        self, method: str, path: str, headers: dict[str, str], body: Body
    ) -> BaseHTTPResponse:
        if self.token is not None:
            headers = {**headers, "Authorization": f"Bearer {self.token.reveal().decode()}"}
        # Sockets take memoryviews as they take bytes; urllib3's types do not tell.
        content = cast("Iterable[bytes] | bytes | None", body() if callable(body) else body)
        return self._pool.request(
            method,
            self._base_url + path,
            body=content,
            headers=headers,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    def _give_up(self, method: str, error: HTTPError, *, is_last: bool) -> None:
        """Raise, unless another attempt may follow."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise CertificateNotTrusted(self.host, check=cause.verify_message) from error
            cause = cause.__cause__ or cause.__context__
        never_sent = isinstance(
            error, NewConnectionError | NameResolutionError | ConnectTimeoutError
        )
        if is_last or not (method in _IDEMPOTENT or never_sent):
            raise Unreachable(
                f"{self.host} did not answer ({type(error).__name__}); try again later"
            ) from error


class UrllibHttp:
    """`Http` over urllib3."""

    def __init__(
        self,
        base_url: str,
        token: Secret | str | None,
        ca_pem: str | None,
        *,
        timeout_s: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
        local: Path | None = None,
    ) -> None:
        """Talk to the API at `base_url`; without a token only what needs none is answered.

        Args:
            base_url: https, or http to this computer itself.
            token: The bearer token.
            ca_pem: The only certificates that are trusted; None for http.
            timeout_s: How long the server may be silent.
            pause: Sleeps between two attempts.
            local: A socket of this computer to take in place of the address.
        """
        self._wire = Wire(base_url, token, ca_pem, timeout_s=timeout_s, pause=pause, local=local)

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        """Send a request and return the answer; see the port."""
        assert path.startswith("/"), "a path is absolute"
        assert json is None or raw is None, "a request has one body"
        headers = {"Accept": "application/json"}
        body = raw
        if json is not None:
            headers["Content-Type"] = "application/json"
            body = json_text.dumps(json, separators=(",", ":")).encode()
        elif raw is not None:
            headers["Content-Type"] = "application/octet-stream"
        response = self._wire.send(method, path, headers=headers, body=body)
        content = self._read(response)
        return Reply(status=response.status, body=_decoded(response, content), raw=content)

    def _read(self, response: BaseHTTPResponse) -> bytes:
        # Where it breaks it is not asked for again: a POST may not be doubled.
        content = read_body(response, _MAX_REPLY_BYTES + 1, host=self._wire.host)
        if len(content) > _MAX_REPLY_BYTES:
            response.close()
            raise ReplyTooLong(f"{self._wire.host} sent more than {_MAX_REPLY_BYTES} bytes")
        response.release_conn()
        return content


def read_body(response: BaseHTTPResponse, max_bytes: int, *, host: str) -> bytes:
    """Return an answer's body to its end, or its first `max_bytes`.

    One `read` is not enough: where the connection ends early it returns what came, as if that were
    all, and only the next one raises.

    Raises:
        Unreachable: Less came than was announced, or nothing for too long.
    """
    blocks: list[bytes] = []
    missing = max_bytes
    try:
        while missing and (block := response.read(missing)):
            blocks.append(block)
            missing -= len(block)
    except HTTPError as error:
        raise Unreachable(f"the answer of {host} broke off; try again later") from error
    return b"".join(blocks)


def _decoded(response: BaseHTTPResponse, content: bytes) -> object:
    """Return the JSON body; None when there is none, as in a proxy's own error page."""
    if not content or "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        return json_text.loads(content)
    except ValueError:
        return None


def _checked_host(base_url: str, ca_pem: str | None) -> str:
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:  # a bracket that is not closed, a port that is no number
        raise CloudAddressInvalid(f"{base_url!r} is not an address: {error}") from None
    if parts.scheme == "https" and host and ca_pem:
        return parts.netloc
    if parts.scheme == "http" and host in _LOOPBACK and not ca_pem:
        return parts.netloc  # nothing leaves this computer, so there is nothing to protect it from
    raise CloudAddressInvalid(f"{base_url!r} is neither https with a CA nor http to this computer")


def _checked_token(token: Secret | str | None) -> Secret | None:
    """Return the token, which has to fit into a header; errors never show it."""
    text = token.reveal() if isinstance(token, Secret) else (token or "").encode()
    if not all(0x21 <= byte <= 0x7E for byte in text):
        raise CloudAddressInvalid("the token is not one word of printable ASCII; check its file")
    return Secret(token.encode()) if isinstance(token, str) else token


def _trusting(ca_pem: str) -> ssl.SSLContext:
    """Return what trusts these certificates and no others."""
    try:
        return ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, TypeError) as error:  # TypeError: not ASCII
        raise CloudAddressInvalid(f"the cloud's certificate cannot be read: {error}") from None
