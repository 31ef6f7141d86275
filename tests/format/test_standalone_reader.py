"""The stand-alone reader, the format documents and the writing side agree.

`reader/overland_reader.py` is written from `docs/format` alone.  Here it is run as a program on
what the agent really writes, and an independent comparison judges what it restores.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.torture import build_torture, fast_folder

from overland.agent.compare import Rules, compare_trees
from overland.agent.repository import Repository
from overland.crypto.keyring import encode_keyring
from overland.crypto.keyringproof import renumbered
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key, sign
from overland.format import point, tree
from overland.format.replacement import Replacement, ReplacementObject
from overland.format.tree import Entry
from overland.packing.writer import PackWriter
from overland.sealing.seal import SegmentSealer
from overland.seeding.subfolder import Subfolder
from overland.source import entries
from overland.values import PointId, ReplacementId, RepositoryId

READER = Path(__file__).resolve().parents[2] / "reader" / "overland_reader.py"
VECTORS = Path(__file__).parent / "vectors"
DONE, REFUSED, INTEGRITY = 0, 3, 4
ALLOWED = {"backports", "blake3", "compression", "cryptography"}
RULES = Rules(owners=os.geteuid() == 0)

Run = subprocess.CompletedProcess[str]


class Kept:
    """A repository of two points, and the secrets that open it, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = BackedUp(folder / "made")
        self.passphrase, self.kit = folder / "passphrase", folder / "kit"
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.kit.write_text(self.made.recovery_kit)

    def read(self, *words: object, folders: tuple[Path, ...] = (), kit: bool = False) -> Run:
        secret = ("--recovery-kit", self.kit) if kit else ("--passphrase-file", self.passphrase)
        places = folders or (self.made.staging,)
        command = [sys.executable, "-I", READER, *places, *secret, *words]
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False
        )

    def restored(self, target: Path) -> Path:
        return Path(f"{target}{self.made.source}")


@pytest.fixture
def kept() -> Iterator[Kept]:
    with fast_folder() as folder:
        yield Kept(folder)


@pytest.fixture
def small(kept: Kept) -> Kept:
    source = kept.made.source
    (source / "inner").mkdir(parents=True)
    (source / "report.txt").write_text("the first version")
    (source / "inner" / "photos.bin").write_bytes(os.urandom(2_500_000))
    kept.made.back_up()
    (source / "report.txt").write_text("the second version")
    kept.made.back_up()
    return kept


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def assert_one_line_each(ended: Run) -> None:
    assert "Traceback" not in ended.stderr
    assert ended.stderr
    assert all(line.startswith("error: ") for line in ended.stderr.splitlines())


def test_everything_a_source_may_hold_comes_back_without_overland(kept: Kept) -> None:
    build_torture(kept.made.source)
    kept.made.back_up()
    (kept.made.source / "later").write_bytes(b"in the second point only")
    kept.made.back_up()

    ended = kept.read("--target", kept.folder / "out")

    assert (ended.returncode, ended.stderr) == (DONE, "")
    found = compare_trees(kept.made.source, kept.restored(kept.folder / "out"), RULES)
    assert found.entries > 400
    assert found.differences == []
    assert sorted(path.name for path in (kept.folder / "out").iterdir()) == [
        kept.made.source.parts[1]
    ], "nothing of the reader's own is left behind"


def test_names_of_one_group_with_other_content_are_not_linked(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link_of(state: os.stat_result) -> bytes:
        return b"the same number!" if state.st_nlink > 1 and S_ISREG(state.st_mode) else b""

    contents = {"removed": b"of the file that went", "made": b"of the one that got its number"}
    for folder, content in contents.items():
        (kept.made.source / folder).mkdir(parents=True)
        (kept.made.source / folder / "one").write_bytes(content)
        (kept.made.source / folder / "two").hardlink_to(kept.made.source / folder / "one")
    with monkeypatch.context() as patched:
        patched.setattr(entries, "link_of", link_of)
        kept.made.back_up()

    ended = kept.read("--target", kept.folder / "out")

    assert (ended.returncode, ended.stderr) == (DONE, "")
    for folder, content in contents.items():
        one, two = (kept.restored(kept.folder / "out") / folder / name for name in ("one", "two"))
        assert one.read_bytes() == content, folder
        assert one.samefile(two), folder


def test_it_needs_no_index_files_and_no_installed_package_of_ours(small: Kept) -> None:
    for number in range(2):
        shutil.rmtree(small.made.folder(number) / "index")

    ended = small.read("--point", small.made.results[0].point_id, "--target", small.folder / "out")

    assert ended.returncode == DONE, ended.stderr
    assert (small.restored(small.folder / "out") / "report.txt").read_text() == "the first version"


def test_it_lists_the_points_and_checks_every_object(small: Kept) -> None:
    ended = small.read("--list", "--check", kit=True)

    assert (ended.returncode, ended.stderr) == (DONE, "")
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [r.point_id for r in small.made.results]
    assert [line.split()[2] for line in lines[:2]] == ["seed", "incremental"]


def test_a_pack_that_others_stand_in_for_is_not_missed(small: Kept) -> None:
    vault = small.folder / "vault"
    for number in range(2):
        shutil.copytree(small.made.folder(number), vault, dirs_exist_ok=True)
    seed = small.made.folder(0)
    goes = sorted(path.relative_to(seed).as_posix() for path in seed.glob("packs/*/*"))
    points = sorted(result.point_id for result in small.made.results)

    def replace(number: int, *, goes: list[str], comes: str, lost: list[str]) -> None:
        """Sign that `comes`, a pack that is there or not, stands in for `goes`."""
        made = Replacement(
            replacement_id=ReplacementId(str(UUID(int=number))),
            repository_id=small.made.document.repository_id,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            reason="repair",
            keeps=[PointId(each) for each in points if each not in lost],
            lost=[PointId(each) for each in lost],
            replaced=goes,
            objects=[ReplacementObject(name=comes, size_bytes=512, sha256=comes[-69:-5])],
        )
        (vault / "replacements").mkdir(exist_ok=True)
        path = vault / "replacements" / f"{made.replacement_id}.replacement"
        path.write_bytes(small.made.repository.seal_replacement(made))

    def missed() -> set[str]:
        lines = small.read("--check", folders=(vault,)).stderr.splitlines()
        return {line.split()[1].rstrip(":") for line in lines if "missing" in line}

    stand_in, last = (f"packs/{c * 2}/{c * 64}.pack" for c in "ab")
    assert len(goes) >= 3, "the content of the seed is in several packs"
    for name in goes[:2]:
        (vault / name).unlink()
    assert missed() == {*goes[:2]}
    replace(1, goes=goes[:2], comes=stand_in, lost=[])
    assert missed() == {stand_in}
    replace(2, goes=[stand_in], comes=last, lost=[])
    assert missed() == {last}
    shutil.copy(vault / goes[2], vault / "copy")
    (vault / last).parent.mkdir(exist_ok=True)
    shutil.move(vault / "copy", vault / last)
    assert missed() == set(), "what comes is there, and whether it is good was said in its line"
    # What is lost to a point, the point goes on needing; the other one does not.
    replace(1, goes=goes[:2], comes=stand_in, lost=[points[1]])
    ended = small.read("--check", folders=(vault,))
    assert missed() == {*goes[:2]}
    assert ended.stderr.count(f"point {points[1]} needs it") == 2
    # A document that somebody else signed says nothing.
    damage(vault / "replacements" / f"{UUID(int=1)}.replacement", at=60)
    assert missed() == {*goes[:2]}
    assert "replacement: " in small.read("--check", folders=(vault,)).stderr


@pytest.mark.parametrize("case", ["genuine", "signature", "body", "name", "repository"])
def test_a_replacement_that_is_not_the_owners_own_excuses_no_missing_pack(
    small: Kept, case: str
) -> None:
    seed = small.made.folder(0)
    goes = small.made.packs(0)[0]
    goes.unlink()
    made = Replacement(
        replacement_id=ReplacementId(str(UUID(int=1))),
        repository_id=small.made.document.repository_id,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        reason="repack",
        keeps=sorted(result.point_id for result in small.made.results),
        lost=[],
        replaced=[goes.relative_to(seed).as_posix()],
        objects=[],
    )
    if case == "repository":
        made = replace(made, repository_id=RepositoryId(str(UUID(int=5))))
    document = small.made.repository.seal_replacement(made)
    if case == "signature":
        digit = document[-10:-9]
        document = document[:-10] + (b"0" if digit != b"0" else b"1") + document[-9:]
    elif case == "body":
        document = document.replace(b"2026-01-01", b"2025-01-01")
    number = 2 if case == "name" else 1
    path = seed / "replacements" / f"{UUID(int=number)}.replacement"
    path.parent.mkdir()
    path.write_bytes(document)

    ended = small.read("--check")

    if case == "genuine":
        assert (ended.returncode, ended.stderr) == (DONE, "")
    else:
        assert ended.returncode == INTEGRITY
        assert_one_line_each(ended)
        assert path.name in ended.stderr
        assert f"{goes.name}: missing" in ended.stderr


def test_a_vaults_folder_works_like_seed_folders(small: Kept) -> None:
    vault = small.folder / "vault"
    for number in range(2):
        shutil.copytree(small.made.folder(number), vault, dirs_exist_ok=True)

    ended = small.read("--target", small.folder / "out", folders=(vault,))

    assert ended.returncode == DONE, ended.stderr
    assert not compare_trees(
        small.made.source, small.restored(small.folder / "out"), RULES
    ).differences


def test_a_path_brings_back_itself_and_what_is_below_it(small: Kept) -> None:
    out = small.folder / "out"
    ended = small.read("--target", out, small.made.source / "inner")

    assert ended.returncode == DONE, ended.stderr
    assert [path.name for path in small.restored(out).iterdir()] == ["inner"]
    assert (small.restored(out) / "inner" / "photos.bin").stat().st_size == 2_500_000


def test_a_path_that_is_not_in_the_point_is_named(small: Kept) -> None:
    ended = small.read("--target", small.folder / "out", small.made.source / "absent")

    assert ended.returncode == REFUSED
    assert_one_line_each(ended)
    assert "absent" in ended.stderr


@pytest.mark.parametrize("part", ["segment", "directory", "trailer"])
def test_a_damaged_pack_is_named_and_costs_only_what_lies_in_it(small: Kept, part: str) -> None:
    pack = max(small.made.packs(0), key=lambda path: path.stat().st_size)
    damage(pack, {"segment": 100, "directory": -100, "trailer": -10}[part])

    checked = small.read("--check")
    restored = small.read("--target", small.folder / "out")

    for ended in (checked, restored):
        assert ended.returncode == INTEGRITY
        assert_one_line_each(ended)
        assert pack.name in ended.stderr
    report = small.restored(small.folder / "out") / "report.txt"
    assert report.read_text() == "the second version", "it lies in another pack"
    photos = small.restored(small.folder / "out") / "inner" / "photos.bin"
    assert not photos.exists(), "half a file is no file"


def test_a_good_copy_of_a_damaged_pack_serves(small: Kept) -> None:
    good = small.folder / "good"
    shutil.copytree(small.made.staging, good)
    for pack in small.made.packs(0):
        damage(pack, 100)

    ended = small.read("--target", small.folder / "out", folders=(small.made.staging, good))

    assert ended.returncode == DONE, ended.stderr
    assert not compare_trees(
        small.made.source, small.restored(small.folder / "out"), RULES
    ).differences


@pytest.mark.parametrize("at", [100, -1])
def test_a_point_whose_signature_does_not_hold_is_not_followed(small: Kept, at: int) -> None:
    point = small.made.folder(1) / f"points/{small.made.results[1].point_id}.point"
    damage(point, at)

    ended = small.read("--point", small.made.results[1].point_id, "--target", small.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert point.name in ended.stderr
    assert not (small.folder / "out").exists()


def test_a_point_under_another_points_name_is_not_followed(small: Kept) -> None:
    old, new = (small.made.folder(n) / "points" for n in range(2))
    [signed], [newest] = list(old.iterdir()), list(new.iterdir())
    newest.write_bytes(signed.read_bytes())

    ended = small.read("--list", "--point", newest.stem, "--target", small.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert newest.name in ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == [signed.stem]


@pytest.mark.parametrize("by", [-1, 1], ids=["too short", "too long"])
def test_a_file_whose_chunks_do_not_add_up_to_its_size_is_not_restored(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, by: int
) -> None:
    kept.made.source.mkdir()
    for name in ("other", "wrong"):
        (kept.made.source / name).write_bytes(os.urandom(50_000))
    real = entries.Entries.make

    def make(made: entries.Entries, name: bytes, *state: Any, **fields: Any) -> Entry:
        entry = real(made, name, *state, **fields)
        return replace(entry, size_bytes=entry.size_bytes + by) if name == b"wrong" else entry

    with monkeypatch.context() as patched:
        patched.setattr(entries.Entries, "make", make)
        kept.made.back_up()

    ended = kept.read("--target", kept.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert "wrong" in ended.stderr
    restored = kept.restored(kept.folder / "out")
    assert [path.name for path in restored.iterdir()] == ["other"]


def test_a_pack_that_gives_a_chunk_another_content_is_named_and_not_believed(small: Kept) -> None:
    files = Subfolder(small.made.files, small.made.folder(1).name)
    lie, truth = b"a chunk that lies!", b"the second version"
    before = min(path.name for path in small.made.packs(1))
    while True:  # until its name comes first, so that it is asked first
        seal = small.made.repository.new_pack()
        sealed = SegmentSealer(level=3).seal(memoryview(lie), seal)
        writer = PackWriter(files, header=seal.header)
        writer.append(
            sealed.data,
            raw_bytes=len(lie),
            codec=sealed.codec,
            ids=[small.made.repository.chunk_id(truth)],
            lengths=[len(lie)],
        )
        pack = writer.finish(seal.seal_directory)
        if f"{pack.directory.pack_id}.pack" < before:
            pack.publish()
            break
        pack.abandon()

    ended = small.read("--check", "--target", small.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert pack.directory.pack_id in ended.stderr
    assert (small.restored(small.folder / "out") / "report.txt").read_bytes() == truth


def test_a_damaged_index_file_is_named_by_a_check(small: Kept) -> None:
    [index] = small.made.folder(1).glob("index/*.index")
    damage(index, 300)

    ended = small.read("--check")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert index.name in ended.stderr


def test_a_check_misses_the_point_that_another_one_builds_on(small: Kept) -> None:
    base, later = (result.point_id for result in small.made.results)
    (small.made.folder(0) / f"points/{base}.point").unlink()

    ended = small.read("--check")

    assert ended.returncode == INTEGRITY
    assert ended.stderr == f"error: points/{base}.point: missing; point {later} needs it\n"


def test_a_keyring_that_names_another_signer_opens_nothing(small: Kept) -> None:
    """Whoever can write to a drive could else sign recovery points of his own."""
    other, own = Secret(b"k" * 32), small.made.document.signing_public_key.encode()
    for number in range(2):
        [keyring] = (small.made.folder(number) / "keys").iterdir()
        keyring.write_bytes(keyring.read_bytes().replace(own, public_key(other).hex().encode()))
        [made] = (small.made.folder(number) / "points").iterdir()
        signed = made.read_bytes()[: -point.SIGNATURE_BYTES]
        made.write_bytes(signed + sign(other, point.SIGNATURE_PURPOSE, signed))

    for kit in (False, True):
        ended = small.read("--list", kit=kit)
        assert (ended.returncode, ended.stdout) == (INTEGRITY, "")
        assert_one_line_each(ended)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [  # so that they stay in their order
        ("!", b".."),
        ("!", b"."),
        ("!", b"../escaped"),
        ("inner-", b"inner/below"),
        ("other-", b"other"),
    ],
)
def test_a_name_that_is_none_is_not_restored(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, wrong: str, name: bytes
) -> None:
    kept.made.source.mkdir()
    (kept.made.source / "inner").mkdir()
    for each in ("other", wrong):
        (kept.made.source / each).write_bytes(os.urandom(5000))
    real = entries.Entries.make

    def make(made: entries.Entries, given: bytes, *state: Any, **fields: Any) -> Entry:
        return real(made, name if given == wrong.encode() else given, *state, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(entries.Entries, "make", make)
        patched.setattr(tree, "_check_nodes", lambda *_, **__: None)
        kept.made.back_up()
    before = sorted(kept.folder.iterdir())

    ended = kept.read("--target", kept.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert sorted(kept.folder.iterdir()) == sorted([*before, kept.folder / "out"])
    above = kept.restored(kept.folder / "out")
    assert [path.name for path in above.parent.iterdir()] == [above.name]
    assert list(above.iterdir()) == [], "nothing is taken from such a folder"


def test_a_root_that_leads_out_of_the_target_is_not_restored(
    small: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Repository.seal_point

    def seal_point(
        made: Repository, public: point.PointPublic, root: point.PointRoot
    ) -> memoryview:
        roots = [point.Root(b"/../escaped", each.entry) for each in root.roots]
        return real(made, public, replace(root, roots=roots))

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "seal_point", seal_point)
        patched.setattr(point, "_check_root_path", lambda *_, **__: None)
        small.made.back_up()

    ended = small.read("--target", small.folder / "out")

    assert ended.returncode == INTEGRITY
    assert_one_line_each(ended)
    assert not (small.folder / "escaped").exists()
    assert list((small.folder / "out").iterdir()) == []


def test_two_drives_hold_a_seed_together_and_one_alone_says_what_lacks(small: Kept) -> None:
    seed = small.made.folder(0)
    drives = [small.folder / "drive 1", small.folder / "drive 2"]
    for drive in drives:
        shutil.copytree(seed, drive / seed.name, ignore=shutil.ignore_patterns("packs"))
    for number, pack in enumerate(small.made.packs(0)):
        place = drives[number % 2] / seed.name / pack.relative_to(seed)
        place.parent.mkdir(parents=True)
        shutil.copy(pack, place)

    together = small.read("--check", "--target", small.folder / "out", folders=tuple(drives))
    alone = small.read("--check", folders=(drives[0],))

    assert (together.returncode, together.stderr) == (DONE, "")
    restored = small.restored(small.folder / "out")
    assert (restored / "report.txt").read_text() == "the first version"
    assert alone.returncode == INTEGRITY
    assert_one_line_each(alone)
    assert small.made.packs(0)[1].name in alone.stderr


def test_what_two_master_keys_sealed_comes_back(small: Kept) -> None:
    """Two points and a third after a rotation: the newest keyring opens them all."""
    inner = small.made.source / "inner"
    before, newer = (inner / "photos.bin").read_bytes(), "eight ferries over sea"
    small.kit.write_text(small.made.rotate_master(newer))
    (inner / "later.bin").write_bytes(os.urandom(50_000))
    small.made.back_up()
    assert small.read("--list").returncode == REFUSED, "the passphrase before"
    small.passphrase.write_text(newer + "\n")
    for by_kit in (False, True):
        checked = small.read("--check", kit=by_kit)
        assert (checked.returncode, checked.stderr) == (DONE, "")
        assert "3 points checked" in checked.stdout
        out = small.folder / f"out{by_kit}"
        ended = small.read("--target", out, kit=by_kit)
        assert ended.returncode == DONE, ended.stderr
        assert (small.restored(out) / "inner" / "photos.bin").read_bytes() == before
        assert (small.restored(out) / "inner" / "later.bin").stat().st_size == 50_000
    seed_alone = small.read("--check", folders=(small.made.folder(0), small.made.folder(1)))
    assert seed_alone.returncode == REFUSED, "the older keyring does not open with the newer secret"


def test_a_keyring_that_was_put_again_under_another_number_opens_the_same(small: Kept) -> None:
    """As `overland keys reissue` does where the newest is damaged; numbers are skipped."""
    newer = "eight ferries over sea"
    small.kit.write_text(small.made.rotate_master(newer))
    small.passphrase.write_text(newer + "\n")
    small.made.back_up()
    [damaged] = small.folder.glob("**/keys/00000002.keyring")
    damaged.write_bytes(b"the medium forgot")
    assert small.read("--check").returncode not in (DONE, REFUSED)
    again = renumbered(small.made.document, small.made._master, generation=90_000_001)
    (damaged.parent / "90000001.keyring").write_bytes(encode_keyring(again))
    for by_kit in (False, True):
        checked = small.read("--check", kit=by_kit)
        assert "3 points checked" in checked.stdout, checked.stderr


def test_a_wrong_passphrase_is_refused_in_one_line(small: Kept) -> None:
    small.passphrase.write_text("another passphrase altogether\n")

    ended = small.read("--list")

    assert ended.returncode == REFUSED
    assert ended.stderr.count("\n") == 1
    assert "passphrase opens no slot" in ended.stderr


def test_a_kit_is_read_in_any_case_and_a_mistyped_one_is_refused(small: Kept) -> None:
    title, repository, groups = small.made.recovery_kit.strip().splitlines()
    small.kit.write_text(f" {title}\n{repository}\n{groups.lower().replace('-', ' ')}\n")
    typed = small.read("--list", kit=True)
    swapped = groups.translate(str.maketrans("AC", "CA")).translate(str.maketrans("DE", "ED"))
    small.kit.write_text(f"{title}\n{repository}\n{swapped}\n")
    mistyped = small.read("--list", kit=True)
    small.kit.write_text(f"{title}\n{UUID(int=2)}\n{groups}\n")
    foreign = small.read("--list", kit=True)

    assert typed.returncode == DONE, typed.stderr
    assert mistyped.returncode == foreign.returncode == REFUSED
    assert mistyped.stderr.count("\n") == foreign.stderr.count("\n") == 1


def test_nothing_is_ever_overwritten(small: Kept) -> None:
    out = small.folder / "out"
    out.mkdir()
    (out / "mine").write_text("untouched")

    ended = small.read("--target", out)

    assert ended.returncode == REFUSED
    assert_one_line_each(ended)
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_wrong_usage_and_an_empty_folder_end_with_their_codes(kept: Kept) -> None:
    kept.made.staging.mkdir(exist_ok=True)

    assert kept.read().returncode == 2
    empty = kept.read("--list")
    assert empty.returncode == INTEGRITY
    assert "keyring" in empty.stderr


def test_the_golden_vectors_are_read_by_passphrase_and_by_kit(kept: Kept) -> None:
    """The vectors' point is listed; what it needs is named, but for the one pack that is there."""
    values = json.loads((VECTORS / "values.json").read_text())
    point = (VECTORS / "point-v1" / "good-seed.point").read_bytes()
    point_id = json.JSONDecoder().raw_decode(point[32:].decode("latin-1"))[0]["point_id"]
    pack = (VECTORS / "pack-v1" / "good-two-segments.pack").read_bytes()
    sha256 = hashlib.sha256(pack).hexdigest()
    for name, data in {
        "keys/00000001.keyring": (VECTORS / "keys-v1" / "good.keyring").read_bytes(),
        f"points/{point_id}.point": point,
        f"packs/{sha256[:2]}/{sha256}.pack": pack,
    }.items():
        path = kept.folder / "golden" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    kept.passphrase.write_text(values["passphrase"])
    kept.kit.write_text(values["recovery_kit"])

    for kit in (False, True):
        ended = kept.read("--list", "--check", kit=kit, folders=(kept.folder / "golden",))
        assert ended.stdout.startswith(f"{point_id} ")
        assert f"'{values['host']}'" in ended.stdout
        assert "1 packs and 1 points checked" in ended.stdout
        assert all(": missing; point " in line for line in ended.stderr.splitlines()), ended.stderr


def test_the_reader_has_at_most_500_lines() -> None:
    assert len(READER.read_text(encoding="utf-8").splitlines()) <= 500


def test_the_reader_imports_the_standard_library_and_three_packages_only() -> None:
    imported = set[str]()
    for node in ast.walk(ast.parse(READER.read_bytes())):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or ".").partition(".")[0])

    assert imported - set(sys.stdlib_module_names) - ALLOWED == set()
    assert "import_module" not in READER.read_text(encoding="utf-8")
