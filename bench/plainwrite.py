"""Write as many bytes as a repository has, into files of the same lengths, and do nothing else.

    python bench/plainwrite.py REPOSITORY FOLDER

What is written is noise out of memory, so that nothing is read and nothing compresses; it goes
through the page cache, as with `dd` or `cp`, and who measures syncs afterwards.
"""

import os
import sys
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 4 << 20


def main() -> None:
    """Do what the arguments say."""
    repository, folder = map(Path, sys.argv[1:])
    folder.mkdir()
    block = memoryview(os.urandom(_BLOCK_BYTES))
    files = (path for path in repository.rglob("*") if path.is_file())
    for number, size_bytes in enumerate([path.stat().st_size for path in files]):
        with (folder / str(number)).open("wb", buffering=0) as file:
            left = size_bytes
            while left:
                left -= file.write(block[: min(left, _BLOCK_BYTES)])


main()
