"""Staging locations as they are typed: shares in every spelling, well-formed or refused."""

import pytest

from overland.agent.mounts import Mounts
from overland.agent.seedrefusals import StagingNotMounted, StagingPathMalformed
from overland.agent.stagingpath import RemotePath, parse_staging, staging_folder

MOUNTS = Mounts(
    r"""
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:40 / /mnt/staging rw - cifs //Files/Seeds rw
22 20 0:41 / /mnt/ex\040port rw - nfs4 files:/export/seeds rw
23 20 0:42 / /mnt/v6 rw - nfs4 [fe80::1]:/export rw
"""
)


@pytest.mark.requirement("R52")
@pytest.mark.parametrize(
    ("text", "share", "folder"),
    [
        (r"\\files\seeds", "//files/seeds", ""),
        (r"\\files\seeds" + "\\", "//files/seeds", ""),
        (r"\\files.example.com\seeds$\one two", "//files.example.com/seeds$", "one two"),
        ("//files/seeds/a/b", "//files/seeds", "a/b"),
        ("smb://files/seeds/a", "//files/seeds", "a"),
        ("SMB://files/seeds", "//files/seeds", ""),
        ("nfs://files/export/seeds", "files:/export/seeds", ""),
        ("files:/export/seeds/", "files:/export/seeds", ""),
        ("[fe80::1]:/export", "[fe80::1]:/export", ""),
    ],
)
def test_a_well_formed_share_is_understood(text: str, share: str, folder: str) -> None:
    found = parse_staging(text)
    assert isinstance(found, RemotePath)
    assert (found.share, found.folder) == (share, folder)


@pytest.mark.requirement("R52")
@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "a\nb", "relative", "./here", "C:", "http://files/seeds"),
        *("\\\\", "\\\\files", "\\\\files\\", "\\\\\\seeds", "\\\\files\\\\seeds"),
        *("\\\\fi les\\seeds", "\\\\files\\se*eds", "\\\\files\\seeds\\..", "\\\\files/seeds\\a"),
        *("\\\\-files\\seeds", "\\\\files\\" + "a" * 256),
        *("//", "//files", "//files/", "smb://", "smb://files", "smb:///seeds", "smb://files/a//b"),
        *("nfs://", "nfs://files", "files:", "files:/", "files:/a/../b", "nfs://files/a//b"),
    ],
)
def test_a_malformed_one_is_refused_with_the_forms_that_do(text: str) -> None:
    with pytest.raises(StagingPathMalformed) as refused:
        parse_staging(text)
    assert refused.value.code == "staging-path-malformed"
    assert "\\\\SERVER\\SHARE" in str(refused.value)


@pytest.mark.requirement("R19", "R52")
@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/srv/staging/", "/srv/staging"),
        (r"\\files\seeds", "/mnt/staging"),
        (r"\\FILES\SEEDS\harbour", "/mnt/staging/harbour"),
        ("smb://files/seeds", "/mnt/staging"),
        ("files:/export/seeds", "/mnt/ex port"),
        ("nfs://[fe80::1]/export", "/mnt/v6"),
    ],
)
def test_it_means_the_folder_where_it_is_mounted(text: str, folder: str) -> None:
    assert staging_folder(text, MOUNTS) == folder


@pytest.mark.requirement("R52")
@pytest.mark.parametrize(
    ("text", "command"),
    [
        (r"\\other\seeds", "mount -t cifs //other/seeds /mnt/staging"),
        ("other:/export", "mount -t nfs other:/export /mnt/staging"),
    ],
)
def test_a_share_that_is_not_mounted_is_refused_with_the_command(text: str, command: str) -> None:
    with pytest.raises(StagingNotMounted, match="not mounted") as refused:
        staging_folder(text, MOUNTS)
    assert command in str(refused.value)
