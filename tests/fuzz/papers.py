"""Targets: the signed files that people carry, as a stranger changed them and as a signer may.

A signature says who wrote a file, and not that it makes sense: a copy computer may be stolen.  So
each file is fuzzed twice, under its code or trusted keys, and as a document that is signed anew
after every change.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec
from tests.damage.carried import _Copier, carried_kinds
from tests.damage.kinds import Kind
from tests.fuzz.oracle import Target
from tests.support import staged

from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.diskprep import airgap
from overland.jobs import custody, custodyproof
from overland.seeding import ledger

__all__ = ["PAPERS"]

_TOKENS: Final = (
    *(b'{"', b'":', b"null", b"1e999", b"-0", b"\\u0000", b"\\ud800", b'"Z"'),
    *(b"2026-01-01T00:00:00", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59"),
    *(b"sealed", b"prepared", b"handed over", b"started", b"completed", b"shipped_back"),
)
_KEY: Final = Secret(b"k" * 32)


@cache
def _kinds() -> dict[str, Kind]:
    return {kind.name: kind for kind in carried_kinds()}


def _carried(name: str, *, is_sealed: bool = False) -> Target:
    def attempt(data: bytes) -> bool:
        _kinds()[name].read(data)
        return True

    return Target(
        name=name.replace(" ", "-"),
        kind="json",
        make_seeds=lambda: [_kinds()[name].data],
        attempt=attempt,
        tokens=_TOKENS,
        is_sealed=is_sealed,
    )


# Job request and answer, signed anew.


@cache
def _copier() -> _Copier:
    made = _Copier(1)
    made.request("prepared", "sealed")
    return made


def _first_line(name: str) -> bytes:
    return _kinds()[name].data.partition(b"\n")[0]


def _signed_again(body: bytes, purpose: str) -> bytes:
    bench = _copier().bench
    key = bench.preparations.signing_key(bench.random)
    last = {
        "public_key": sign.public_key(key).hex(),
        "signature": sign.sign(key, purpose, body.partition(b"\n")[0]).hex(),
    }
    return body + b"\n" + msgspec.json.encode(last) + b"\n"


def _request_body(data: bytes) -> bool:
    document = _signed_again(data, airgap._REQUEST)
    found = airgap.read_request(document, name="request", code=airgap.code_of(document))
    assert sum(drive.object_count for drive in found.preparation.sealed()) >= 0, "can be counted"
    return True


def _answer_body(data: bytes) -> bool:
    document = _signed_again(data, airgap._ANSWER)
    _copier().accept(document, airgap.code_of(document))
    return True


# Custody, with its chains and signatures made anew.


@cache
def _story() -> bytes:
    """The events of both logs, without what binds them together."""
    document = json.loads(_kinds()["custody document"].data)
    return msgspec.json.encode(
        {
            "job_name": "job",
            "ledger": [json.loads(line) for line in document["ledger"]["lines"]],
            "cloud": document["cloud"]["events"],
        }
    )


def _retold(data: bytes) -> bool:
    try:
        story = json.loads(data)
        mine, theirs = list(story["ledger"]), list(story["cloud"])
        document = {
            "format": "overland-custody-v1",
            "job_name": story["job_name"],
            "ledger": _ledger_of(mine),
            "cloud": _cloud_of(theirs),
        }
        whole = json.dumps(document).encode()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False  # no story at all: `custody-document` has these
    report = custodyproof.verify(whole)
    assert all(drive.steps for drive in report.drives), "a drive is one that something happened to"
    return True


def _ledger_of(events: Sequence[Any]) -> dict[str, Any]:  # Any: JSON
    lines: list[bytes] = []
    for number, event in enumerate(events, start=1):
        previous = ledger._digest(lines[-1]) if lines else "0" * 64
        bound = {**event, "sequence": number, "previous": previous}
        lines.append(json.dumps(bound).encode())
    head = custodyproof.ledger_head(staged.SEED_ID, lines)
    return {
        "seed_id": staged.SEED_ID,
        "lines": [line.decode() for line in lines],
        "public_key": sign.public_key(_KEY).hex(),
        "signature": sign.sign(_KEY, custodyproof.LEDGER_PURPOSE, head).hex(),
    }


def _cloud_of(events: Sequence[Any]) -> dict[str, Any]:  # Any: JSON
    digest, bound = "0" * 64, []
    for number, told in enumerate(events, start=1):
        event = {**told, "number": number}
        with suppress(ValueError, TypeError, LookupError, AttributeError, OverflowError):
            if event["detail"] is not None:
                event["detail_digest"] = custody._detail_digest(event["detail"])
            entry = custody.Entry(
                **{**event, "at": datetime.fromisoformat(event["at"])}, job_id="j", tenant_id="t"
            )
            digest = custody._digest(entry, digest)
        bound.append({**event, "digest": digest})
    head = custodyproof.cloud_head("j", count=len(bound), digest=digest)
    return {
        "job_id": "j",
        "tenant_id": "t",
        "intact": True,
        "events": bound,
        "public_key": sign.public_key(_KEY).hex(),
        "signature": sign.sign(_KEY, custodyproof.CLOUD_PURPOSE, head).hex(),
    }


PAPERS: Final = (
    _carried("job request", is_sealed=True),
    _carried("job request with its own code"),
    _carried("job answer", is_sealed=True),
    _carried("job answer with its own code"),
    _carried("custody document"),
    Target(
        name="job-request-signed-again",
        kind="json",
        make_seeds=lambda: [_first_line("job request")],
        attempt=_request_body,
        tokens=_TOKENS,
    ),
    Target(
        name="job-answer-signed-again",
        kind="json",
        make_seeds=lambda: [_first_line("job answer")],
        attempt=_answer_body,
        tokens=_TOKENS,
    ),
    Target(
        name="custody-told-again",
        kind="json",
        make_seeds=lambda: [_story()],
        attempt=_retold,
        tokens=_TOKENS,
        bytes_per_byte=256,
    ),
)
"""The targets of what people carry."""
