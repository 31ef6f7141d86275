"""What the control plane answers when it does not do what was asked.

Four answers stay apart for every client: absent, not authorised, refused, and still under way.
"""

from typing import ClassVar

from overland.errors import NotAuthorised, OverlandError, RefusedError

__all__ = [
    "Conflict",
    "Forbidden",
    "Invalid",
    "RegistrationUnproven",
    "ResourceAbsent",
    "TokenInvalid",
]


class RegistrationUnproven(RefusedError):
    """Who registers did not show that the signing key is theirs."""

    code: ClassVar[str] = "registration-unproven"

    def __init__(self) -> None:
        super().__init__(
            "the proof is not a signature of this registration by the signing key that it names; "
            "register on the computer that holds the key, with a current version of Overland"
        )


class TokenInvalid(NotAuthorised):
    """There is no credential, or it is unknown, revoked or expired."""

    code: ClassVar[str] = "not-authorised"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; ask an administrator for a new token")


class Forbidden(NotAuthorised):
    """The credential is good and does not allow this."""

    code: ClassVar[str] = "forbidden"


class ResourceAbsent(OverlandError):
    """There is no such thing, or none that this credential may know of."""

    code: ClassVar[str] = "not-found"

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")
        self.what = what


class Invalid(RefusedError):
    """A value breaks a rule; `target` names the value."""

    code: ClassVar[str] = "invalid"

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"{target}: {problem}")
        self.target, self.problem = target, problem


class Conflict(RefusedError):
    """The request fits the rules and does not fit what is there already."""

    code: ClassVar[str] = "conflict"

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"{target}: {problem}")
        self.target, self.problem = target, problem
