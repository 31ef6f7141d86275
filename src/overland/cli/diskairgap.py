"""`overland disk submit` and `accept-answer`: import jobs of copy computers without a network."""

from pathlib import Path
from typing import Final

import click
import msgspec

from overland.cli.completion import complete_path
from overland.cli.copycomputer import open_copy_computer
from overland.cli.diskflow import connected, write_file
from overland.cli.disklabels import write_labels
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.disktexts import prepared, prepared_text
from overland.cli.outcome import ask, json_option, show
from overland.diskprep import airgap
from overland.diskprep import submit as submission
from overland.diskprep.record import Preparation
from overland.diskprep.refusals import NoPreparation, SeedReplaced

__all__ = ["accept_answer", "request_result", "submit"]

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_CODE: Final = click.option(
    "--code", metavar="CODE", help="The code that was shown when the file was written."
)


def request_result(path: str) -> tuple[dict[str, object], str]:
    """Return what is shown after a job request was written: the file and its code."""
    code = airgap.code_of(Path(path).read_bytes())
    return {"request": path, "code": code}, (
        f"the drives are finished, and the job request is in {path}\n"
        f"its code is {code}: write it down, apart from the file\n"
        f"next: on a computer with a network, run `overland disk submit {path}`"
    )


@click.command()
@click.argument("file", type=_FILE)
@_CODE
@click.option(
    "--publish-settings",
    envvar="OVERLAND_PUBLISH_SETTINGS",
    metavar="FILE",
    default="",
    shell_complete=complete_path,
    help="Publish settings of the subscription; remembered for later commands.",
)
@click.option(
    "--answer",
    metavar="FILE",
    shell_complete=complete_path,
    help="Where the answer goes; else beside FILE, as FILE.answer.",
)
@json_option
def submit(
    *, file: Path, code: str | None, publish_settings: str, answer: str | None, as_json: bool
) -> None:
    """Create the import job that the job request FILE asks for, and write the answer.

    The request is refused unless it is the file that had this code where it was written.  The
    answer, with the address, goes back to the copy computer; parcel and status can be seen to here.
    """
    document = file.read_bytes()
    typed = code or ask("Code of the job request", option="--code CODE")
    request = airgap.read_request(document, name=str(file), code=typed)
    with open_copy_computer() as computer:
        bench = computer.bench(TerminalQuestions(drives=(), erase=(), consent=False))
        record = _known(computer.preparations.find(request.preparation.folder), request)
        record, service = connected(record, bench, computer, publish_settings)
        lines = [line.encode() for line in request.custody]
        bench.ledger(record).adopt(lines)
        key = bytes.fromhex(request.drive_key)
        done = submission.submit(record, bench, service, drive_key=key)
        assert done.job is not None, "the job was created"
        write_labels(computer, done)
        place = answer or f"{file}.answer"
        written = airgap.answer_for(document, done.job, bench)
        write_file(place, written)
        result = {"job": done.job_name, "answer": place, "code": airgap.code_of(written)}
        text = (
            f"import job {done.job_name} exists; the answer is in {place}\n"
            f"its code is {airgap.code_of(written)}: write it down, apart from the file\n"
            f"next: on the copy computer, run `overland disk accept-answer {place}`"
        )
        show(result, text, as_json=as_json)


@click.command("accept-answer")
@click.argument("file", type=_FILE)
@_CODE
@json_option
def accept_answer(*, file: Path, code: str | None, as_json: bool) -> None:
    """Take the import job and the address from FILE, the answer to a request of this computer."""
    typed = code or ask("Code of the answer", option="--code CODE")
    with open_copy_computer() as computer:
        bench = computer.bench(TerminalQuestions(drives=(), erase=(), consent=False))

        def find(job_name: str) -> Preparation:
            """Return the first record of this copy computer with that import job's name.

            Raises:
                NoPreparation: There is none.
            """
            for record in computer.preparations.all():
                if record.job_name == job_name:
                    return record
            raise NoPreparation

        done = airgap.accept_answer(
            file.read_bytes(), name=str(file), code=typed, find=find, bench=bench
        )
        write_labels(computer, done)
        show(prepared(done, computer), prepared_text(done, computer), as_json=as_json)


def _known(stored: Preparation | None, request: airgap.JobRequest) -> Preparation:
    """Return the record to submit: the request's drives, with what was typed here before.

    Raises:
        SeedReplaced: Another seed of that id was submitted from here.
    """
    asked = request.preparation
    if stored is None:
        return asked
    if stored.seed_manifest_sha256 != asked.seed_manifest_sha256:
        raise SeedReplaced(stored.seed_id, record=stored.seed_id)
    return msgspec.structs.replace(stored, drives=asked.drives)
