"""The samples of docs/reference/import-export-api.md, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.clients.conftest import Served
from tests.support.nodejs import ROOT, node

pytestmark = pytest.mark.slow

PAGE: Final = ROOT / "docs" / "reference" / "import-export-api.md"
LIMIT_S: Final = 600


def sample(language: str) -> str:
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return str(found)


def test_the_sample_for_python_makes_a_job_and_catches_a_refusal(
    served: Served, tmp_path: Path
) -> None:
    program = tmp_path / "sample.py"
    program.write_text(sample("python"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program],
        env={**os.environ, **served.environment()},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["sample-python Creating", "ResourceNotFound"]


def test_the_sample_for_node_lists_jobs_and_catches_a_refusal(
    served: Served, tmp_path: Path
) -> None:
    job = {
        "location": "westus",
        "properties": {
            "storageAccountId": served.world.account_id,
            "jobType": "Import",
            "driveList": [
                {
                    "driveId": "SAMPLE-NODE",
                    "bitLockerKey": "key",
                    "manifestFile": "\\DriveManifest.xml",
                    "manifestHash": "0" * 32,
                }
            ],
        },
    }
    served.admin.ok("PUT", served.world.job_path("sample-node"), job)
    trusted = {"NODE_EXTRA_CA_CERTS": served.ca}
    done = node().run(sample("js"), folder=tmp_path, environment=served.environment() | trusted)
    assert done.returncode == 0, done.stderr
    assert "sample-node Creating" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "ResourceNotFound"
