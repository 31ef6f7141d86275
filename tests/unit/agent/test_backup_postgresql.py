"""A PostgreSQL database, dumped by the real `pg_dump` into a point, is a database again."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp

from overland.adapters.programs import SystemPrograms
from overland.source.streams import StreamSource

_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _BIN, reason="PostgreSQL is not installed"),
]


class Server:
    """A database server of this test's own, on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._bin = folder, _BIN[-1].parent
        # The server refuses root.
        self._user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []
        if self._user:
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        self._run("initdb", "-D", f"{folder}/data", "-U", "shop", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-D", f"{folder}/data", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")

    def sql(self, text: str, *, database: str = "postgres") -> str:
        return self._run("psql", *self.where(database), "-qAtc", text)

    def restore(self, dump: Path, *, database: str) -> None:
        self.sql(f"create database {database}")
        with dump.open("rb") as file:
            self._run("pg_restore", *self.where(database), stdin=file.fileno())

    def where(self, database: str) -> list[str]:
        return ["-h", str(self.folder), "-U", "shop", "-d", database]

    def dump(self, database: str) -> list[str]:
        return [*self._user, str(self._bin / "pg_dump"), "-Fc", *self.where(database)]

    def _run(self, program: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> str:
        done = subprocess.run(
            [*self._user, self._bin / program, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            cwd="/",
            check=True,
            text=True,
        )
        return (done.stdout or "").strip()


@pytest.fixture
def server() -> Iterator[Server]:
    # A socket's path is at most 107 bytes long, and `nobody` has to reach it.
    folder = Path(f"/tmp/overland-pg-{os.getpid()}")
    folder.mkdir(mode=0o700)
    made = None
    try:
        made = Server(folder)
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(folder)


def test_a_dump_travels_with_files_and_an_image_and_is_a_database_again(
    server: Server, tmp_path: Path
) -> None:
    server.sql(
        "create table goods as select n, 'thing ' || n as name from generate_series(1, 20000) n"
    )
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    (backed.source / "f").write_text("file")
    image = tmp_path / "vm.img"
    image.write_bytes(os.urandom(100_000))

    def stream(database: str) -> StreamSource:
        argv = server.dump(database)
        return StreamSource(
            path="/shop.dump", timeout_s=60, open=lambda: SystemPrograms().start(argv)
        )

    backed.back_up(backed.source, images=(image,), streams=(stream("postgres"),))
    backed.restore(strip=b"/")
    dump = backed.target / "shop.dump"
    server.restore(dump, database="again")
    assert server.sql("select count(*), sum(n) from goods", database="again") == "20000|200010000"
    assert (backed.target / str(image)[1:]).read_bytes() == image.read_bytes()

    result = backed.back_up(backed.source, streams=(stream("missing"),))
    assert result.failed[0].reason == "the command ended with exit status 1"
