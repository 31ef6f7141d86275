"""The job request of a copy computer without a network, and the answer that comes back (R91).

Both are files of two lines: a JSON document, and the signature over it by the computer that wrote
it.  A signature alone does not say whose computer that was, so each file has a code of 80 bits,
which the writer shows and the reader asks the operator for: it is carried by a person, not by the
medium that carries the file.  `docs/format/job-request-v1.md` is normative.
"""

import hashlib
from collections.abc import Callable
from typing import Final, Literal, TypeVar

import msgspec

from overland.crypto import sign
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import JobRecord, Preparation
from overland.diskprep.submit import keep_job, own_key
from overland.errors import IntegrityError, RefusedError, SignatureInvalid
from overland.format.stored import UNREADABLE
from overland.seeding.ledger import checked_lines

__all__ = [
    "AnswerForAnother",
    "JobFileChanged",
    "JobRequest",
    "accept_answer",
    "answer_for",
    "code_of",
    "read_request",
    "request_for",
]

_REQUEST: Final = "overland job request v1"
_ANSWER: Final = "overland job answer v1"
_SENT: Final = "job-request.json"
_CODE_DIGITS: Final = 20
_MAX_BYTES: Final = 1 << 24
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class JobFileChanged(IntegrityError):
    """A job request or its answer is not the file that was written."""

    code = "job-file-changed"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} was not used: {check}; write it again where it came from")
        self.name, self.check = name, check


class AnswerForAnother(RefusedError):
    """The answer belongs to another job request than the last one from here."""

    code = "answer-for-another"

    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(f"{name} was not used: {why}")
        self.name, self.why = name, why


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What another computer needs to create and ship the job; holds no secret."""

    format: Literal["overland-job-request-v1"] = "overland-job-request-v1"
    preparation: Preparation
    custody: tuple[str, ...]
    made_by: str
    drive_key: str  # the public key that signed the drives, and signs this


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["overland-job-answer-v1"] = "overland-job-answer-v1"
    request_sha256: str
    job: JobRecord
    made_by: str


class _Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    public_key: str
    signature: str


def code_of(document: bytes) -> str:
    """Return the code by which people compare two files: 80 bits of its SHA-256."""
    digits = hashlib.sha256(document).hexdigest()[:_CODE_DIGITS]
    return "-".join(digits[start : start + 4] for start in range(0, _CODE_DIGITS, 4))


def request_for(preparation: Preparation, bench: Workbench) -> bytes:
    """Return the signed request for the job of finished drives.

    It is kept here, durably, to match the answer.  Made again while nothing has changed, it is the
    same file with the same code.

    Raises:
        LedgerBroken: The custody log here was changed.
        PreparationDamaged: This computer's key cannot be read.
    """
    assert preparation.is_complete(), "a job is made for all of its drives at once"
    ledger = bench.ledger(preparation)
    bare = msgspec.structs.replace(preparation, publish_settings="", job=None)
    request = JobRequest(
        preparation=bare,
        custody=tuple(line.decode() for line in ledger.lines()),
        made_by=bench.operator,
        drive_key=own_key(bench).hex(),
    )
    document = _signed(request, _REQUEST, bench)
    bench.local(preparation).write(_SENT, document)
    return document


def read_request(document: bytes, *, name: str, code: str) -> JobRequest:
    """Return the request, if it is the one that has this code.

    Raises:
        JobFileChanged: It was changed, is of another kind, or the code is another file's.
        LedgerBroken: The custody log in it does not hold, although its signature does.
    """
    request, public_key = _read(document, JobRequest, _REQUEST, name, code)
    if request.drive_key != public_key:
        raise JobFileChanged(name, check="another computer signed it than the one of the drives")
    if not request.preparation.is_complete():
        raise JobFileChanged(name, check="its drives do not hold the whole seed")
    checked_lines([line.encode() for line in request.custody], name)
    return request


def answer_for(document: bytes, job: JobRecord, bench: Workbench) -> bytes:
    """Return the signed answer to the request `document`."""
    sha256 = hashlib.sha256(document).hexdigest()
    answer = _Answer(request_sha256=sha256, job=job, made_by=bench.operator)
    return _signed(answer, _ANSWER, bench)


def accept_answer(
    document: bytes,
    *,
    name: str,
    code: str,
    find: Callable[[str], Preparation],
    bench: Workbench,
) -> Preparation:
    """Store the job that the answer tells of, with its address, durably; return the record.

    `find` gives the record of an import job by its name.

    Raises:
        JobFileChanged: The file was changed, or the code is another file's.
        AnswerForAnother: It does not answer the last request that was written here.
        Exception: What `find` raised.
    """
    answer, _ = _read(document, _Answer, _ANSWER, name, code)
    preparation = find(answer.job.name)
    local = bench.local(preparation)
    if _SENT not in {info.name for info in local.names()}:
        raise AnswerForAnother(name, why="no job request was written here")
    if answer.request_sha256 != hashlib.sha256(local.read(_SENT)).hexdigest():
        raise AnswerForAnother(name, why="it answers another job request; submit the last one")
    return keep_job(preparation, answer.job, bench)


def _signed(value: msgspec.Struct, purpose: str, bench: Workbench) -> bytes:
    body = msgspec.json.encode(value, order="deterministic")
    key = bench.preparations.signing_key(bench.random)
    signed = _Signed(
        public_key=sign.public_key(key).hex(), signature=sign.sign(key, purpose, body).hex()
    )
    return body + b"\n" + msgspec.json.encode(signed) + b"\n"


def _read(
    document: bytes, kind: type[_Kind], purpose: str, name: str, code: str
) -> tuple[_Kind, str]:
    if len(document) > _MAX_BYTES:
        raise JobFileChanged(name, check=f"it has more than {_MAX_BYTES} bytes")
    body, _, rest = document.partition(b"\n")
    try:
        signed = msgspec.json.decode(rest, type=_Signed)
        public_key = bytes.fromhex(signed.public_key)
        sign.verify(public_key, purpose, body, bytes.fromhex(signed.signature))
        value = msgspec.json.decode(body, type=kind)
    except SignatureInvalid:
        raise JobFileChanged(name, check="its signature does not hold") from None
    except (*UNREADABLE, ValueError) as error:
        raise JobFileChanged(name, check=f"it cannot be read ({error})") from None
    plain = code.replace("-", "").replace(" ", "").lower()
    if plain != code_of(document).replace("-", ""):
        raise JobFileChanged(name, check="its code is not the one that you typed")
    return value, signed.public_key
