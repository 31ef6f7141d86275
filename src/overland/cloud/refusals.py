"""What the control plane answers when it does not do what was asked.

Four answers stay apart for every client: absent, not authorised, refused, and still under way.
"""

from typing import ClassVar

from overland.errors import NotAuthorised, OverlandError, RefusedError

__all__ = [
    "Conflict",
    "Forbidden",
    "Invalid",
    "ResourceAbsent",
    "TokenInvalid",
]


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
