"""The staging location keeps apart what is complete, what is not, and what is not ours."""

import errno
import hashlib
import random
from collections.abc import Iterator

import msgspec
import pytest
from tests.support import staged
from tests.support.simdisk import SimDisk

from overland.crypto.sign import public_key
from overland.errors import IntegrityError, OutOfSpace
from overland.format.signed import SignedDocumentInvalid
from overland.ports.progress import NullProgress
from overland.seeding.copying import ObjectCopier
from overland.seeding.manifest import load_seed_manifest, signed_seed_manifest
from overland.seeding.seedrecord import SeedFormatUnknown, SeedRecordInvalid
from overland.seeding.staging import SeedAlreadyStaged, SeedConflict, SeedIncomplete
from overland.values import RepositoryId

FOLDER = f"seed-{staged.SEED_ID}"


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk()


def test_a_staged_seed_is_found_and_opened_as_it_was_written(disk: SimDisk) -> None:
    content = staged.objects()
    staged.stage(disk, content)

    [found] = staged.location(disk).seeds()
    seed = staged.location(disk).open(found.seed_id)

    assert found.why_not is None
    assert seed.record == staged.record()
    assert seed.manifest == staged.manifest(content)
    assert {item.name: seed.files.read(item.name) for item in seed.manifest.objects} == content
    assert seed.check_sizes() == []


@pytest.mark.requirement("R65", "R68")
def test_a_seed_without_ready_is_incomplete_and_says_so(disk: SimDisk) -> None:
    staged.stage(disk, staged.objects())
    disk.delete(f"{FOLDER}/READY")

    [found] = staged.location(disk).seeds()

    assert found.record == staged.record()
    assert found.why_not is not None
    assert "READY" in found.why_not
    with pytest.raises(SeedIncomplete):
        staged.location(disk).open(staged.SEED_ID)


@pytest.mark.requirement("R71")
def test_foreign_files_are_neither_seeds_nor_touched(disk: SimDisk) -> None:
    foreign = {
        "holiday.jpg": b"1",
        "seed-of-doubt/seed.json": b"2",
        f"{FOLDER}/notes.txt": b"3",
        "seed-11111111-AAAA-4bbb-8ccc-222222222222/seed.json": b"4",
    }
    for name, data in foreign.items():
        disk.write(name, data)

    staged.stage(disk, staged.objects())

    assert [seed.seed_id for seed in staged.location(disk).seeds()] == [staged.SEED_ID]
    assert {name: disk.read(name) for name in foreign} == foreign


def test_seeds_are_listed_oldest_first(disk: SimDisk) -> None:
    staged.stage(disk, staged.objects(), staged.OTHER_SEED_ID)
    staged.stage(disk, staged.objects())

    found = staged.location(disk).seeds()

    assert [seed.seed_id for seed in found] == [staged.SEED_ID, staged.OTHER_SEED_ID]


@pytest.mark.requirement("R20")
def test_too_little_space_is_refused_before_anything_is_written() -> None:
    disk = SimDisk(capacity_bytes=10_000)

    with pytest.raises(OutOfSpace):
        staged.location(disk).begin(staged.record(), needed_bytes=10_001)

    assert list(disk.names()) == []
    staged.location(disk).begin(staged.record(), needed_bytes=10_001, even_if_small=True)


@pytest.mark.requirement("R71")
def test_what_an_interrupted_run_staged_counts_as_free_space() -> None:
    disk = SimDisk(capacity_bytes=100_000)
    draft = staged.location(disk).begin(staged.record(), needed_bytes=100_000)
    draft.files.write(next(iter(staged.objects())), bytes(60_000))

    again = staged.location(disk).begin(staged.record(), needed_bytes=100_000)

    assert again.record == draft.record


def test_an_interrupted_seed_keeps_its_first_record(disk: SimDisk) -> None:
    staged.location(disk).begin(staged.record(), needed_bytes=0)
    later = msgspec.structs.replace(staged.record(), policy="renamed")

    draft = staged.location(disk).begin(later, needed_bytes=0)

    assert draft.record == staged.record()


@pytest.mark.parametrize("field", ["repository_id", "storage_account", "container"])
def test_a_folder_with_other_settings_is_refused(disk: SimDisk, field: str) -> None:
    staged.location(disk).begin(staged.record(), needed_bytes=0)
    other = msgspec.structs.replace(staged.record(), **{field: "other"})

    with pytest.raises(SeedConflict) as refused:
        staged.location(disk).begin(other, needed_bytes=0)

    assert refused.value.field == field.replace("_", " ")


@pytest.mark.requirement("R72")
def test_a_complete_seed_is_not_written_again(disk: SimDisk) -> None:
    staged.stage(disk, staged.objects())

    with pytest.raises(SeedAlreadyStaged):
        staged.location(disk).begin(staged.record(), needed_bytes=0)


@pytest.mark.requirement("R6")
def test_a_newer_format_is_refused_by_its_number(disk: SimDisk) -> None:
    disk.write(f"{FOLDER}/seed.json", b'{"format_version": 2, "parity": "rs"}')

    with pytest.raises(SeedFormatUnknown) as refused:
        staged.location(disk).open(staged.SEED_ID)

    assert refused.value.found == 2
    [found] = staged.location(disk).seeds()
    assert "version 2" in str(found.why_not)


@pytest.mark.parametrize("name", ["manifest.json", "READY"])
@pytest.mark.requirement("R70")
def test_any_change_of_the_manifest_is_noticed(disk: SimDisk, name: str) -> None:
    staged.stage(disk, staged.objects())
    disk.damage(f"{FOLDER}/{name}", offset=20)

    with pytest.raises(IntegrityError):
        staged.location(disk).open(staged.SEED_ID)


def test_a_manifest_of_another_seed_is_noticed(disk: SimDisk) -> None:
    staged.stage(disk, staged.objects())
    staged.stage(disk, staged.objects(), staged.OTHER_SEED_ID)
    for name in ("manifest.json", "READY"):
        disk.write(f"{FOLDER}/{name}", disk.read(f"seed-{staged.OTHER_SEED_ID}/{name}"))

    with pytest.raises(SeedRecordInvalid):
        staged.location(disk).open(staged.SEED_ID)


def test_a_manifest_of_another_repository_is_noticed(disk: SimDisk) -> None:
    content = staged.objects()
    staged.stage(disk, content)
    other = msgspec.structs.replace(
        staged.manifest(content), repository_id=RepositoryId(staged.POINT_ID)
    )
    document = signed_seed_manifest(
        other, public_key=public_key(staged.SIGNING_KEY), sign=staged.sign_with_source_key
    )
    disk.write(f"{FOLDER}/manifest.json", document)
    disk.write(f"{FOLDER}/READY", hashlib.sha256(document).hexdigest().encode())

    with pytest.raises(SeedRecordInvalid):
        staged.location(disk).open(staged.SEED_ID)


@pytest.mark.parametrize("document", [b"", b"{}", b"null", b'{"format_version": 1}', b"\xff"])
def test_a_damaged_record_is_damage_and_not_absence(disk: SimDisk, document: bytes) -> None:
    disk.write(f"{FOLDER}/seed.json", document)

    with pytest.raises(SeedRecordInvalid):
        staged.location(disk).open(staged.SEED_ID)


def test_an_absent_and_a_short_object_are_two_problems(disk: SimDisk) -> None:
    content = staged.objects()
    staged.stage(disk, content)
    absent, short = list(content)[-2:]
    disk.delete(f"{FOLDER}/{absent}")
    disk.truncate(f"{FOLDER}/{short}", length=100)

    problems = staged.location(disk).open(staged.SEED_ID).check_sizes()

    assert [(problem.name, problem.check.split()[1]) for problem in problems] == [
        (absent, "is"),
        (short, "has"),
    ]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_absent_or_short_is_told_and_nothing_else(disk: SimDisk, seed: int) -> None:
    choose, content = random.Random(seed), staged.objects(packs=[512] * 6)
    staged.stage(disk, content)
    opened, expected = staged.location(disk).open(staged.SEED_ID), dict[str, str]()
    for name in sorted(content):
        match choose.choice(["kept", "absent", "short", "beside"]):
            case "absent":
                disk.delete(f"{FOLDER}/{name}")
                expected[name] = "is"
            case "short":
                disk.truncate(f"{FOLDER}/{name}", length=1)
                expected[name] = "has"
            case "beside":
                disk.write(f"{FOLDER}/{name}.foreign", b"1")
            case _:
                pass
    found = opened.check_sizes()
    assert [(each.name, each.check.split()[1]) for each in found] == list(expected.items())


def test_a_manifest_that_changes_after_it_was_opened_is_not_handed_on(disk: SimDisk) -> None:
    staged.stage(disk, staged.objects())
    seed = staged.location(disk).open(staged.SEED_ID)
    assert hashlib.sha256(seed.read_document()).hexdigest() == seed.sha256
    assert len(seed.read_document()) == seed.document_bytes
    disk.damage(f"{FOLDER}/manifest.json", offset=20)
    with pytest.raises(SeedRecordInvalid):
        seed.read_document()


def test_a_manifest_that_is_too_long_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("overland.seeding.manifest.MAX_DOCUMENT_BYTES", 1000)
    blocks = iter([bytes(400)] * 10)
    with pytest.raises(SignedDocumentInvalid, match="too long"):
        load_seed_manifest(blocks, name="manifest.json")
    assert len(list(blocks)) == 7


@pytest.mark.requirement("R70")
def test_a_flipped_bit_is_found_by_reading_everything(disk: SimDisk) -> None:
    content = staged.objects()
    staged.stage(disk, content)
    victim = list(content)[-1]
    disk.damage(f"{FOLDER}/{victim}", offset=17)
    seed = staged.location(disk).open(staged.SEED_ID)

    with ObjectCopier(NullProgress()) as copier:
        problems = seed.check_content(copier)

    assert seed.check_sizes() == []
    assert [problem.name for problem in problems] == [victim]


def test_an_object_that_cannot_be_read_is_named_and_the_others_are_read(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = staged.objects()
    staged.stage(disk, content)
    unreadable, *_, damaged = content
    disk.damage(f"{FOLDER}/{damaged}", offset=17)
    seed, real = staged.location(disk).open(staged.SEED_ID), type(disk).blocks

    def blocks(self: SimDisk, name: str, *, block_bytes: int) -> Iterator[memoryview]:
        if name.endswith(unreadable):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, name, block_bytes=block_bytes)

    monkeypatch.setattr(type(disk), "blocks", blocks)
    with ObjectCopier(NullProgress()) as copier:
        problems = seed.check_content(copier)

    assert [(each.name, each.is_unreadable) for each in problems] == [
        (unreadable, True),
        (damaged, False),
    ]
    assert problems[0].check == "Input/output error"


def test_finish_refuses_a_manifest_with_an_object_that_is_not_there(disk: SimDisk) -> None:
    content = staged.objects()
    draft = staged.location(disk).begin(staged.record(), needed_bytes=0)
    for name, data in list(content.items())[1:]:
        draft.files.write(name, data)

    with pytest.raises(SeedIncomplete):
        staged.finish(draft, content)

    assert [seed.why_not is None for seed in staged.location(disk).seeds()] == [False]
