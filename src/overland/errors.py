"""The three families of errors, and the leaves that more than one part raises.

`IntegrityError`: bytes are not what was written; stop and keep the evidence.
`RefusedError`: understood and unsafe, or not allowed; a person decides.
`TransientError`: try again unchanged; the only family that a retry catches.

Every leaf has a stable `code`, which appears in logs, in API problems and as a heading in
`docs/reference/errors.md`, and a message that says what to do next.
"""

from typing import ClassVar, Final

__all__ = [
    "IntegrityError",
    "KeyChangeMissing",
    "NotAuthorised",
    "ObjectAbsent",
    "ObjectCorrupt",
    "ObjectExists",
    "OutOfSpace",
    "OverlandError",
    "RefusedError",
    "SignatureInvalid",
    "SigningKeyRetired",
    "TransientError",
    "Unreachable",
]

_LONGEST_MESSAGE: Final = 4096


class OverlandError(Exception):
    """Base of all errors that Overland raises on purpose."""

    code: ClassVar[str] = "overland-error"

    def __init__(self, message: str = "") -> None:
        """Say what happened; a longer message is cut, because it may cite what a stranger wrote."""
        is_long = len(message) > _LONGEST_MESSAGE
        super().__init__(message[:_LONGEST_MESSAGE] + "…" if is_long else message)


class IntegrityError(OverlandError):
    """Bytes are not what was written."""

    code: ClassVar[str] = "integrity"


class RefusedError(OverlandError):
    """The request was understood and is not carried out; nothing was changed."""

    code: ClassVar[str] = "refused"


class TransientError(OverlandError):
    """The same request may succeed later, unchanged."""

    code: ClassVar[str] = "transient"


class ObjectAbsent(OverlandError):
    """A store does not hold the object; absent is neither corrupt nor failed."""

    code: ClassVar[str] = "object-absent"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no object {name}")
        self.name = name


class ObjectCorrupt(IntegrityError):
    """An object's bytes fail a check."""

    code: ClassVar[str] = "object-corrupt"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is damaged: {check}; take it again from another copy")
        self.name, self.check = name, check


class ObjectExists(RefusedError):
    """Another object already has this name, with other content; objects are never replaced."""

    code: ClassVar[str] = "object-exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} already exists with other content; nothing was replaced")
        self.name = name


class SignatureInvalid(IntegrityError):
    """A signed document was changed, or was signed by somebody else."""

    code: ClassVar[str] = "signature-invalid"

    def __init__(self, what: str) -> None:
        super().__init__(f"the signature of {what} does not hold; do not use it")
        self.what = what


class SigningKeyRetired(IntegrityError):
    """A former signing key signed it, and the key change that ended that key does not list it."""

    code: ClassVar[str] = "signing-key-retired"

    def __init__(self, what: str, *, change: int) -> None:
        super().__init__(
            f"{what} is signed with signing key {change} of this repository, which was replaced, "
            "and was not there when that was done: whoever stole the old key may have made it; do "
            "not use it"
        )
        self.what, self.change = what, change


class KeyChangeMissing(RefusedError):
    """A former signing key signed it, and the list that could vouch for it is not at hand.

    Neither damage nor forgery is known: the place is incomplete, or something is withheld.
    """

    code: ClassVar[str] = "key-change-missing"

    def __init__(self, what: str, *, change: str) -> None:
        super().__init__(
            f"{what} is signed with a former signing key, and {change}, which tells whether it "
            "counts, is not here or is damaged; name another place that has it as well: the "
            "vault, or a staging location or drive made since"
        )
        self.what, self.change = what, change


class OutOfSpace(RefusedError):
    """A medium is too small for what was to be written to it."""

    code: ClassVar[str] = "out-of-space"

    def __init__(self, where: str, *, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"{where} has {free_bytes} bytes free and needs {needed_bytes}; "
            "free some space or choose another place, then run again: finished work is kept"
        )
        self.where, self.needed_bytes, self.free_bytes = where, needed_bytes, free_bytes


class NotAuthorised(RefusedError):
    """The credential is missing, expired, or does not allow this."""

    code: ClassVar[str] = "not-authorised"


class Unreachable(TransientError):
    """A service did not answer."""

    code: ClassVar[str] = "unreachable"
