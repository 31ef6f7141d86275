"""No key ever meets a nonce twice: over whole backups, kills and changes of keys.

AES-GCM gives away both texts, and the means to forge others, as soon as it happens once
(NIST SP 800-38D §8).
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.backups import make_plan, make_repository, run
from tests.support.format_samples import CHEAP, PASSPHRASE, REPOSITORY
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.torture import fast_folder

from overland.crypto import aead, slots
from overland.crypto.keys import (
    new_keyring,
    with_both,
    with_master,
    with_passphrase,
    with_recovery_kit,
)

Buffer = bytes | bytearray | memoryview


class Recorder:
    """`AESGCM`, and what it was asked to seal with."""

    seals: ClassVar[Counter[tuple[bytes, bytes]]] = Counter()

    def __init__(self, key: bytes) -> None:
        self._key, self._real = key, AESGCM(key)

    def encrypt(self, nonce: bytes, data: Buffer, aad: bytes) -> bytes:
        Recorder.seals[self._key, nonce] += 1
        return self._real.encrypt(nonce, data, aad)

    def encrypt_into(self, nonce: bytes, data: Buffer, aad: bytes, out: memoryview) -> int:
        Recorder.seals[self._key, nonce] += 1
        return self._real.encrypt_into(nonce, data, aad, out)

    def decrypt(self, nonce: bytes, data: Buffer, aad: bytes) -> bytes:
        return self._real.decrypt(nonce, data, aad)

    def decrypt_into(self, nonce: bytes, data: Buffer, aad: bytes, out: memoryview) -> int:
        return self._real.decrypt_into(nonce, data, aad, out)


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder.seals = Counter()
    monkeypatch.setattr(aead, "AESGCM", Recorder)
    monkeypatch.setattr(slots, "AESGCM", Recorder)


@pytest.fixture
def source() -> Iterator[Path]:
    with fast_folder() as folder:
        chance = random.Random(7)
        for number in range(30):
            below = folder / f"folder-{number % 4}"
            below.mkdir(exist_ok=True)
            (below / f"{number}").write_bytes(chance.randbytes(chance.randrange(60_000)))
        yield folder


def _repeated() -> list[int]:
    return [count for count in Recorder.seals.values() if count > 1]


def test_backups_never_repeat_a_nonce(source: Path) -> None:
    repository, out = make_repository(SimDisk()), SimDisk()
    for number in (1, 2, 3):
        (source / f"new-{number}").write_bytes(os.urandom(6 << 20))
        plan = make_plan(source, number=number, workers=2, pack_bytes=4 << 20)
        run(plan, repository=repository, out=out, stored=[out])
    keys = {key for key, _ in Recorder.seals}
    assert len(keys) >= 9, "packs, index files and points have keys of their own"
    assert len(Recorder.seals) > 2 * len(keys), "and packs have several segments"
    assert _repeated() == []


@pytest.mark.crash
def test_a_run_that_was_killed_never_repeats_a_nonce_when_it_runs_again(source: Path) -> None:
    """The same data under the same names: what is done again is sealed with another key."""
    finished, cut_at = False, 0
    while not finished:
        repository, out = make_repository(SimDisk()), SimDisk(cut_at=cut_at, seed=cut_at)
        for _ in range(2):
            try:
                run(make_plan(source, pack_bytes=100_000), repository=repository, out=out)
                finished = not out.is_cut and cut_at > 0 and out.steps < cut_at
                break
            except PowerCut:
                out = out.restart()
        cut_at += 9
        assert _repeated() == [], f"after a cut at step {cut_at - 9}"
    assert cut_at > 18, "there was something to cut"


def test_keyrings_never_repeat_a_nonce() -> None:
    """A slot's nonce is constant, so its key must not be."""
    document, master, _ = new_keyring(
        PASSPHRASE, repository_id=REPOSITORY, random=os.urandom, cost=CHEAP
    )
    for _ in range(20):
        document = with_passphrase(document, master, PASSPHRASE, random=os.urandom, cost=CHEAP)
        document, _ = with_recovery_kit(document, master, random=os.urandom)
        document, _ = with_both(document, master, PASSPHRASE, random=os.urandom, cost=CHEAP)
    assert len(Recorder.seals) == 2 + 1 + 20 * 4, "two slots and the signing key, then slots"
    assert _repeated() == []


def test_rotations_of_the_master_key_never_repeat_a_nonce() -> None:
    document, master, _ = new_keyring(
        PASSPHRASE, repository_id=REPOSITORY, random=os.urandom, cost=CHEAP
    )
    Recorder.seals.clear()
    for turn in range(1, 11):
        passphrase = f"{PASSPHRASE} {turn}"
        document, master, _ = with_master(
            document, master, passphrase, random=os.urandom, cost=CHEAP
        )
        document, _ = with_recovery_kit(document, master, random=os.urandom)
    former = sum(range(1, 11))
    assert len(Recorder.seals) == 10 * 4 + former, "slots, signing key and the former master keys"
    assert _repeated() == []


def test_a_repeated_salt_is_what_the_recorder_would_notice() -> None:
    """The test itself: where randomness fails, keys and nonces repeat."""
    for _ in range(2):
        new_keyring(PASSPHRASE, repository_id=REPOSITORY, random=bytes, cost=CHEAP)
    assert _repeated()
