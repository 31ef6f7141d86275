"""A registered computer and somebody who may make applications: what `overland cert` needs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.registered import SourceComputer, typed

from overland.adapters.posix import PosixFiles
from overland.agent.certificate import Certificates
from overland.agent.offlineidentity import OfflineIdentities
from overland.cli.outcome import Exit

__all__ = ["Office", "answered"]


@dataclass(kw_only=True)
class Office:
    """The commands of `overland cert`, typed on a computer with the token of an account."""

    computer: SourceComputer
    user_id: str
    token_file: Path

    @classmethod
    def of(cls, computer: SourceComputer, role: str = "owner") -> "Office":
        """Make an account of a role, which is a program's, and its token."""
        admin = computer.cloud.http(computer.world.admin)
        name = f"office-{role}"
        body = {"name": name, "kind": "service", "role": role}
        made = admin.ok("POST", "/v1/users", body)
        token = admin.ok("POST", f"/v1/users/{name}/tokens", {"expires_in_days": 9})["token"]
        file = computer.folder / f"{name}.token"
        file.write_text(token)
        return cls(computer=computer, user_id=made["user_id"], token_file=file)

    @property
    def url(self) -> str:
        return self.computer.cloud.services.endpoints.url

    @property
    def params(self) -> Path:
        return self.computer.folder / "OfflineApplicationParams.xml"

    @property
    def name(self) -> str:
        return f"AzureOfflineBackup_{self.user_id}"

    @property
    def files(self) -> PosixFiles:
        return PosixFiles(self.computer.home)

    @property
    def certificates(self) -> Certificates:
        return Certificates(self.files)

    @property
    def identities(self) -> OfflineIdentities:
        return OfflineIdentities(self.files)

    def create(self, *, code: int = Exit.OK, **options: object) -> Any:
        """Make the application; return what the command printed as JSON."""
        given: dict[str, object] = {
            "subscription": self.computer.world.subscription_id,
            "out": self.params,
        }
        given |= {"url": self.url, "token_file": self.token_file} | options
        words = [
            word
            for key, value in given.items()
            for word in (f"--{key.replace('_', '-')}", str(value))
        ]
        return answered("cert", "create-application", *words, code=code)

    def enroll(self, *, account: str | None = None, by_hand: bool = False, code: int = 0) -> Any:
        """Enroll the computer; `by_hand` leaves the upload to somebody else."""
        words = [
            "--params",
            self.params,
            "--storage-account",
            account or self.computer.world.account,
        ]
        if not by_hand:
            words += ["--token-file", self.token_file]
        return answered("cert", "enroll", *words, code=code)

    def upload_by_hand(self, file: Path, *, name_computer: bool = False) -> None:
        """Enter a certificate as a tenant's owner does in the manual path."""
        words: list[object] = [self.name, file, "--url", self.url]
        words += ["--token-file", self.token_file]
        if name_computer:
            words += ["--source-computer", answered("agent", "config", "get", "MachineId")["value"]]
        answered("cloud", "application", "add-certificate", *words)


def answered(*words: object, code: int = Exit.OK) -> Any:
    """Run a command with `--json`; return its answer, or the error of that exit code."""
    ended = typed(*words, "--json")
    assert ended.exit_code == code, (ended.output, ended.exception)
    found = json.loads(ended.stdout)
    return found.get("error", found) if isinstance(found, dict) else found
