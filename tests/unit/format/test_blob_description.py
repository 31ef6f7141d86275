"""Descriptions of blobs, and which names in a container are ours."""

import hashlib
import re
from pathlib import Path

import pytest

from overland.format.blob_description import (
    BlobDescription,
    decode_description,
    description_name,
    encode_description,
    is_reserved,
)
from overland.format.stored import RecordDamaged

PAGE = Path(__file__).resolve().parents[3] / "docs" / "format" / "blob-description-v1.md"
TIDE = BlobDescription(
    name="charts/tide.png",
    blob_type="BlockBlob",
    sha256=hashlib.sha256(b"tide").hexdigest(),
    properties={"Content-Type": "image/png"},
    metadata={"Project": "Lantern"},
)


def test_the_vector_in_the_document_is_what_is_written_and_read() -> None:
    page = PAGE.read_text()
    [vector] = re.findall(r"```json\n(.*?\n)```", page, re.DOTALL)
    assert encode_description(TIDE).decode() == vector
    assert decode_description(vector.encode(), name="vector") == TIDE
    assert f"`{description_name(TIDE.name)}`" in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"BlockBlob"', '"AppendBlob"'),
        ('"format_version":1', '"format_version":2'),
        ('"sha256":"', '"sha256":"x'),
        ('"name":"charts/tide.png"', '"name":7'),
        ('"Lantern"', "null"),
        ('{"blob_type"', '{"more":1,"blob_type"'),
        ("}\n", ""),
    ],
)
def test_every_other_form_is_refused(old: str, new: str) -> None:
    text = encode_description(TIDE).decode()
    assert old in text
    with pytest.raises(RecordDamaged):
        decode_description(text.replace(old, new, 1).encode(), name="vector")


SEED = "seed-11111111-aaaa-4bbb-8ccc-222222222222"


@pytest.mark.parametrize(
    "name",
    [
        SEED,
        f"{SEED}/a",
        f"{SEED.title()}/a",
        f"{SEED}. ./a",
        ".overland-blobs",
        ".OVERLAND-BLOBS/a",
    ],
)
def test_a_seeds_folder_and_the_descriptions_are_reserved_in_every_spelling(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["seed-1/a", "seeds/a", f"a/{SEED}/b", "overland-blobs/a", "a"])
def test_other_names_are_free(name: str) -> None:
    assert not is_reserved(name)
