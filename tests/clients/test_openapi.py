"""Requests made from the OpenAPI document: nothing breaks, and every answer is as described.

`schemathesis` makes them, good ones and bad ones, from a fixed seed.  The quick run looks at each
operation a few times, and at the import jobs with every boundary value; a larger one is
`./dev test tests/clients/test_openapi.py --openapi-requests 50`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.dataplane import serving_app
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.server.api import create_app

pytestmark = pytest.mark.slow

PROGRAM: Final = Path(sys.executable).parent / "schemathesis"
LIMIT_S: Final = 3600
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
QUICK: Final = 2
JOBS: Final = ("--include-tag", "Microsoft.ImportExport")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A served API, tokens for it, and what exists there."""

    url: str
    tokens: Mapping[str, str]
    names: Mapping[str, str]
    operations: int

    def try_out(
        self,
        folder: Path,
        *,
        token: str,
        phases: str,
        options: tuple[str, ...],
        checks: tuple[str, ...] = CHECKS,
    ) -> str:
        """Return what the run printed; it ended without a finding."""
        settings = folder / "schemathesis.toml"
        lines = [f'"path.{name}" = "{value}"' for name, value in self.names.items()]
        settings.write_text("\n".join(["[parameters]", *lines, ""]))
        command: list[str | Path] = [PROGRAM, "--config-file", settings, "run"]
        command += [f"{self.url}/openapi.json", "--phases", phases, "--seed", "1"]
        command += ["--header", f"Authorization: Bearer {self.tokens[token]}"]
        command += ["--checks", ",".join(checks), "--continue-on-failure", "--no-color"]
        done = subprocess.run(
            [*command, *options],
            cwd=folder,
            env={**os.environ, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
        return done.stdout


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Described]:
    with capture_logs(), LocalCloud(tmp_path) as cloud:
        journey = Journey(cloud=cloud)
        journey.stage()
        journey.prepare()
        app = create_app(cloud.services)
        with serving_app(app, None, http=H11Protocol) as url:
            yield Described(
                url=url,
                tokens={"admin": journey.world.admin, "root": cloud.root_token},
                names={
                    "subscription_id": journey.world.subscription_id,
                    "resource_group": journey.world.group.rpartition("/")[2],
                    "account": journey.world.account,
                    "service": "default",
                    "tenant_id": journey.world.tenant_id,
                    "vault_id": journey.world.vault_id,
                    "seed_id": journey.seed.seed_id,
                },
                operations=sum(len(each) for each in app.openapi()["paths"].values()),
            )


def test_no_operation_breaks_and_every_answer_is_as_described(
    described: Described, tmp_path: Path, openapi_requests: int
) -> None:
    count = ("--max-examples", str(openapi_requests))
    printed = described.try_out(tmp_path, token="admin", phases="fuzzing", options=count)
    tested = re.search(r"Tested: (\d+)", printed)
    assert tested is not None, printed
    assert int(tested[1]) == described.operations


def test_boundary_values_of_import_jobs_are_refused_or_taken_as_described(
    described: Described, tmp_path: Path, openapi_requests: int
) -> None:
    kind = "positive" if openapi_requests <= QUICK else "all"
    options = (*JOBS, "--mode", kind)
    checks = (*CHECKS, "negative_data_rejection")
    described.try_out(tmp_path, token="admin", phases="coverage", options=options, checks=checks)


def test_no_operation_breaks_for_the_operator(
    described: Described, tmp_path: Path, openapi_requests: int
) -> None:
    if openapi_requests <= QUICK:
        pytest.skip("in the larger run: --openapi-requests")
    count = ("--max-examples", str(openapi_requests))
    described.try_out(tmp_path, token="root", phases="coverage,fuzzing", options=count)
