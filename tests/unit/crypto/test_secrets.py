import copy
import pickle

import pytest

from overland.crypto.secrets import Secret


def test_a_secret_never_shows_its_bytes() -> None:
    secret = Secret(b"hidden key")
    assert str(secret) == f"{secret}" == repr([secret])[1:-1] == "Secret(…)"
    assert secret.reveal() == b"hidden key"


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_written_away(leak: object) -> None:
    assert callable(leak)
    with pytest.raises(TypeError, match="cannot be pickled"):
        leak(Secret(b"hidden key"))


def test_a_secret_is_equal_to_itself_only() -> None:
    secret = Secret(b"x")
    assert secret == secret  # noqa: PLR0124 - identity is the promise
    assert secret != Secret(b"x")
