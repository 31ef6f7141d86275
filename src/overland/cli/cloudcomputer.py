"""The cloud's operator and its tenants' administrators, composed: home folder, API, secrets.

`--home` or `OVERLAND_HOME` names the home folder, in which the cloud has `cloud/`; without them it
lives where the system keeps programs' data.  Commands talk to the API: to the cloud where
`overland sign-in` signed a person in, otherwise to the running cloud of that folder with its root
token; or to the one that `--url`, `--ca-file` and `--token-file` name.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
import platformdirs

from overland.adapters.clock import SystemClock
from overland.adapters.http import UrllibHttp
from overland.adapters.posix import PosixFiles
from overland.cli import signedin
from overland.cli.outcome import json_option
from overland.cli.refusals import FileUnusable, SubscriptionUnclear
from overland.cloud.home import CloudHome, CloudInitialised, Settings
from overland.cloud.locations import Dock
from overland.errors import Unreachable
from overland.ports.http import accept

__all__ = [
    "ApiClient",
    "cloud_folder",
    "in_subscription",
    "init_cloud",
    "kept_secret",
    "lines_text",
    "open_api",
    "read_token",
    "subscription_option",
    "with_api",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature

_MAX_FILE_BYTES = 1 << 20
API_VERSION = "api-version=2021-01-01"


# `ask` and `arm` return whatever JSON the cloud sent: their callers print it.
class ApiClient:
    """Requests to one cloud with one token; refusals become the errors of `overland.errors`."""

    def __init__(self, http: UrllibHttp, *, url: str, ca_pem: str | None) -> None:
        """Ask with `http`; address and authority are kept for who passes them on."""
        self._http, self.url, self.ca_pem = http, url, ca_pem

    def ask(self, method: str, path: str, what: str, *, json: object = None) -> Any:  # noqa: ANN401 - the JSON of any answer
        """Send a request and return its JSON, of whatever shape: commands print it.

        Raises:
            ObjectAbsent: There is no such thing.
            NotAuthorised: The token does not allow it.
            RefusedByCloud: The cloud refused it; the message says why.
            Unreachable: The cloud does not answer.
        """
        return accept(self._http.request(method, path, json=json), what=what)

    def arm(self, method: str, path: str, what: str, *, json: object = None) -> Any:  # noqa: ANN401 - as `ask`
        """Send a request to the resource manager's part of the API; otherwise as `ask`."""
        joint = "&" if "?" in path else "?"
        return self.ask(method, f"{path}{joint}{API_VERSION}", what, json=json)

    def subscription(self, named: str | None) -> str:
        """Return the named subscription, or the only one that the token reaches.

        Raises:
            RefusedError: There is none, or more than one to choose from.
        """
        if named is not None:
            return named
        found = self.ask("GET", "/v1/subscriptions", "subscriptions")
        if len(found) != 1:
            raise SubscriptionUnclear(len(found))
        return str(found[0]["subscription_id"])


def _api_options(function: _Function) -> _Function:
    """Add the options that choose a cloud and a token."""
    for option in (
        click.option("--token-file", type=click.Path(dir_okay=False), help="File with the token."),
        click.option("--ca-file", type=click.Path(dir_okay=False), help="The cloud's authority."),
        click.option("--url", help="Address of another cloud's API."),
        click.option("--home", type=click.Path(file_okay=False), help="Home folder."),
    ):
        function = option(function)
    return function


def with_api(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the API as `api`, and the options to choose it, and `--json`."""

    @wraps(function)
    def command(
        *,
        home: str | None,
        url: str | None,
        ca_file: str | None,
        token_file: str | None,
        **rest: Any,  # the command's own options
    ) -> None:
        """Run the command with a client of the cloud that the options name; see `open_api`."""
        api = open_api(home=home, url=url, ca_file=ca_file, token_file=token_file)
        function(api=api, **rest)

    return _api_options(json_option(command))


def subscription_option(function: _Function) -> _Function:
    """Add `--subscription` to a command."""
    return click.option("--subscription", help="Its id; not needed when there is only one.")(
        function
    )


def in_subscription(api: ApiClient, subscription: str | None) -> str:
    """Return the path of a subscription, or of the only one."""
    return f"/subscriptions/{quote(api.subscription(subscription))}"


def lines_text(rows: list[dict[str, Any]], *names: str) -> str:  # Any: rows of JSON
    """Return rows as lines of text, with a dash for what is not there."""
    return "\n".join("  ".join(str(row.get(name) or "-") for name in names) for row in rows)


def open_api(
    *, home: str | None, url: str | None, ca_file: str | None, token_file: str | None
) -> ApiClient:
    """Return a client of the cloud that the options name.

    Raises:
        Unreachable: The cloud of the home folder does not run.
        CloudNotInitialised: There is none in the home folder.
        SignInEnded: The cloud ended the session of who is signed in here.
        FileUnusable: A file cannot be read.
        CloudAddressInvalid: Address, certificate or token has another form.
        click.UsageError: An option is missing.
    """
    kept = None if token_file is not None else signedin.read(signedin.home_folder(home))
    if kept is not None and url in (None, kept.url):
        kept = signedin.access_token(signedin.home_folder(home))
        http = UrllibHttp(kept.url, kept.access_token, kept.ca_pem)
        return ApiClient(http, url=kept.url, ca_pem=kept.ca_pem)
    if url is not None:
        if token_file is None:
            raise click.UsageError("with --url, give --token-file too, or `overland sign-in` there")
        ca_pem = None if ca_file is None else _read(ca_file)
        http = UrllibHttp(url, read_token(token_file), ca_pem)
        return ApiClient(http, url=url, ca_pem=ca_pem)
    cloud_home = CloudHome(PosixFiles(cloud_folder(home)))
    cloud_home.settings()
    endpoints = cloud_home.endpoints()
    if endpoints is None:
        raise Unreachable("the cloud does not run; start it with `overland cloud serve`")
    token = read_token(token_file) if token_file else cloud_home.root_token().reveal().decode()
    ca_pem = _read(endpoints.ca)
    return ApiClient(UrllibHttp(endpoints.url, token, ca_pem), url=endpoints.url, ca_pem=ca_pem)


def read_token(path: str) -> str:
    """Return the token that a file holds.

    Raises:
        FileUnusable: The file cannot be read.
    """
    return _read(path).strip()


def cloud_folder(home: str | None) -> Path:
    """Return the cloud's folder, made if absent, that only its owner can enter."""
    named = home or os.environ.get("OVERLAND_HOME")
    base = Path(named) if named else Path(platformdirs.user_data_dir("overland"))
    folder = (base / "cloud").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def init_cloud(
    folder: Path,
    *,
    dock: Dock | None,
    new_root_token: bool,
    soft_delete_days: int | None = None,
    job_retention_days: int | None = None,
) -> bool:
    """Make a cloud, or change its settings or its root token; return whether it is new.

    A run that was interrupted is completed by the next one.

    Raises:
        CloudInitialised: It exists, and nothing is to be changed.
    """
    # Only `init` needs it, and it costs half a second.
    from overland.adapters.database import open_database  # noqa: PLC0415 - as said above

    cloud_home = CloudHome(PosixFiles(folder))
    is_new = not cloud_home.is_initialised()
    is_setting = bool(dock or soft_delete_days or job_retention_days)
    if not (is_new or is_setting or new_root_token):
        raise CloudInitialised
    if is_new or is_setting:
        old = Settings() if is_new else cloud_home.settings()
        cloud_home.save_settings(
            Settings(
                dock=dock or old.dock,
                soft_delete_days=soft_delete_days or old.soft_delete_days,
                job_retention_days=job_retention_days or old.job_retention_days,
            )
        )
    if is_new or new_root_token:
        database = open_database(folder / "cloud.db", "cloud")
        try:
            with database.begin() as connection:
                at = SystemClock().now()
                cloud_home.new_root_token(connection, at=at, random=os.urandom)
        finally:
            database.dispose()
    return is_new


@contextlib.contextmanager
def kept_secret(path: str | None) -> Iterator[Callable[[str], None]]:
    """Take the name of a new file, then give a function that keeps a secret under it.

    Ask for the secret within: nobody would hold one that was given and then found no file.  What
    the function keeps only its owner can read, and it survives a power cut.  Where it was never
    called, or failed, the name is free again; a kill before that leaves an empty file.  Without a
    `path` nothing is kept.

    Raises:
        FileExistsError: There is a file of that name; it is left as it is.
        OSError: No file can be made there.
    """
    if path is None:
        yield lambda _: None
        return
    file = Path(path)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    kept = False

    def keep(text: str) -> None:
        nonlocal kept
        PosixFiles(file.parent).write(file.name, text.encode())
        kept = True

    try:
        yield keep
    finally:
        if not kept:
            file.unlink(missing_ok=True)


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode()
    except OSError as error:
        raise FileUnusable(Path(path), problem=str(error.strerror)) from None
    except UnicodeDecodeError:
        raise FileUnusable(Path(path), problem="it is not text") from None
