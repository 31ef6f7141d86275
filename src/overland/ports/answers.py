"""What a cloud answered, as a value."""

from typing import TypeVar

import msgspec

from overland.errors import Unreachable

__all__ = ["converted"]

_Form = TypeVar("_Form")


def converted(answer: object, form: type[_Form]) -> _Form:
    """Return decoded JSON as a value of a form; fields that the form does not have are ignored.

    Raises:
        Unreachable: It has another form, so that no cloud answered that this program understands.
    """
    try:
        return msgspec.convert(answer, form)
    except msgspec.ValidationError as error:
        raise Unreachable(
            f"what answered is not a cloud that this program understands ({error}); check its "
            "address, whether a proxy answers in its place, and whether both have one version"
        ) from None
