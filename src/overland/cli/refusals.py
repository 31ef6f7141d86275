"""What commands refuse before any machine is asked, each under its own code."""

from pathlib import Path

from overland.errors import RefusedError

__all__ = [
    "Declined",
    "FileTaken",
    "FileUnusable",
    "NotAFolder",
    "NothingToRead",
    "PointUnclear",
    "ResourceAbsent",
    "StdinNotRead",
    "SubscriptionUnclear",
]


class Declined(RefusedError):
    """The question was not answered with yes."""

    code = "declined"

    def __init__(self) -> None:
        super().__init__("you did not type yes; nothing was changed")


class FileTaken(RefusedError):
    """A file that would hold a secret exists already; it is never written over."""

    code = "file-taken"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already; name a new file")
        self.path = path


class FileUnusable(RefusedError):
    """A file that was named cannot be used."""

    code = "file-unusable"

    def __init__(self, path: Path, *, problem: str) -> None:
        super().__init__(f"{path} cannot be used: {problem}; name another file")
        self.path, self.problem = path, problem


class NotAFolder(RefusedError):
    """A path that was named is not a folder."""

    code = "not-a-folder"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not a folder; check the path, and whether it is mounted")
        self.path = path


class NothingToRead(RefusedError):
    """There is no place to read recovery points from."""

    code = "nothing-to-read"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}; run `overland agent register`, or name with --from a drive, a staging "
            "location, or a folder with packs, index and points in it"
        )


class PointUnclear(RefusedError):
    """No recovery point begins so, or several do."""

    code = "point-unclear"

    def __init__(self, text: str, *, matches: int) -> None:
        problem = f"{matches} recovery points begin" if matches else "no recovery point begins"
        super().__init__(f"{problem} with {text!r}; see `overland points list`")
        self.text, self.matches = text, matches


class ResourceAbsent(RefusedError):
    """A resource that was named is not in the subscription."""

    code = "resource-absent"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name} in this subscription; check the name")
        self.kind, self.name = kind, name


class StdinNotRead(RefusedError):
    """A run made no recovery point, so that nothing was read from standard input."""

    code = "stdin-not-read"

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"standard input was not read: this run of {policy} made no recovery point; "
            f"see `overland policy show {policy}`"
        )
        self.policy = policy


class SubscriptionUnclear(RefusedError):
    """The token reaches no subscription, or several."""

    code = "subscription-unclear"

    def __init__(self, count: int) -> None:
        super().__init__(f"the token reaches {count} subscriptions; give --subscription ID")
        self.count = count
