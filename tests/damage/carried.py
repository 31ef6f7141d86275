"""The files that people carry from one computer to another, and what lies beside blobs."""

from typing import Final

import msgspec
from sqlalchemy import StaticPool, create_engine
from tests.damage.kinds import Kind
from tests.damage.samples import Fields, members
from tests.support import staged
from tests.support.importservice import Operator
from tests.support.manualclock import ManualClock
from tests.support.samplejobs import job
from tests.support.simdisk import SimDisk

from overland.adapters.volumes import FolderVolumes
from overland.agent.offlineidentity import OfflineIdentity, encode_identity, parse_identity
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.diskprep import airgap
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import DriveRecord, DriveState, JobRecord, Preparation, Preparations
from overland.format.blob_description import (
    BlobDescription,
    decode_description,
    encode_description,
)
from overland.jobs import custody, custodyproof, tables
from overland.jobs.importjob import Happening
from overland.ports.progress import NullProgress
from overland.seeding.ledger import CustodyEventName, Ledger

__all__ = ["carried_kinds"]

_ELEMENTS: Final = (
    *("TenantId", "ClientId", "UserId", "SubscriptionId", "Url"),
    *("StorageAccount", "Thumbprint"),
)


def carried_kinds() -> list[Kind]:
    """Return the kinds of files that travel by themselves."""
    return [*_job_files(), _custody_document(), _identity_file(), _description()]


# -- job request and answer ---------------------------------------------------------------------


class _Copier:
    """A copy computer without a network whose drives are finished."""

    def __init__(self, number: int) -> None:
        self.bench = Workbench(
            volumes=FolderVolumes(),
            preparations=Preparations(SimDisk()),
            questions=Operator(),
            clock=ManualClock(),
            progress=NullProgress(),
            random=lambda size: bytes([number]) * size,
            operator=f"operator {number}",
        )
        self.record = Preparation(
            seed_id=staged.SEED_ID,
            job_name="job",
            staging="/staging",
            subscription_id=staged.SUBSCRIPTION_ID,
            storage_account="harbour",
            container="seeds",
            seed_manifest_sha256="0" * 64,
            object_count=1,
            object_bytes=512,
            started_at=staged.NOW,
            drives=(
                DriveRecord(
                    serial="D1",
                    path="/mnt/d1",
                    sequence=1,
                    state=DriveState.SEALED,
                    capacity_bytes=1 << 30,
                    runs=((0, 1),),
                    object_bytes=512,
                    manifest_hash="0" * 32,
                    sealed_at=staged.NOW,
                ),
            ),
        )
        self.bench.preparations.save(self.record)

    def request(self, *events: CustodyEventName) -> bytes:
        """Take events into the ledger; return the request with them."""
        for event in events:
            self.bench.ledger(self.record).append(event, drive="D1", by="anna", details={})
        return airgap.request_for(self.record, self.bench)

    def answer(self, request: bytes) -> bytes:
        """Return the answer of another computer."""
        record = JobRecord(
            arm_id="/jobs/job",
            name="job",
            location="West Europe",
            ship_to={"city": "Harbour"},
            carriers=("Ship",),
            serials=("D1",),
            created_at=staged.NOW,
        )
        return airgap.answer_for(request, record, _Copier(9).bench)

    def accept(self, data: bytes, code: str) -> object:
        return airgap.accept_answer(
            data, name="answer", code=code, find=lambda _: self.record, bench=self.bench
        )


def _job_files() -> list[Kind]:
    """Each as it is read with the code that came with the person, and with the file's own."""
    copier, stranger = _Copier(1), _Copier(2)
    older, request = copier.request("prepared"), copier.request("sealed")
    theirs = stranger.request("prepared", "sealed")
    answer, old_answer = copier.answer(request), copier.answer(older)
    their_answer = copier.answer(theirs)
    code, answer_code = airgap.code_of(request), airgap.code_of(answer)
    return [
        Kind(
            name="job request",
            data=request,
            fields=_two_lines(request),
            read=lambda data: airgap.read_request(data, name="request", code=code),
            theirs=theirs,
            older=older,
        ),
        Kind(
            name="job request with its own code",
            data=request,
            fields=_two_lines(request),
            read=lambda data: airgap.read_request(data, name="request", code=airgap.code_of(data)),
            theirs=answer,  # of another kind
            older=older,
        ),
        Kind(
            name="job answer",
            data=answer,
            fields=_two_lines(answer),
            read=lambda data: copier.accept(data, answer_code),
            theirs=their_answer,
            older=old_answer,
        ),
        Kind(
            name="job answer with its own code",
            data=answer,
            fields=_two_lines(answer),
            read=lambda data: copier.accept(data, airgap.code_of(data)),
            theirs=their_answer,
            older=old_answer,
        ),
    ]


def _two_lines(data: bytes) -> Fields:
    first = data.index(b"\n") + 1
    found = members(data[:first])
    below = {name: (first + at, size) for name, (at, size) in members(data[first:]).items()}
    return found | below


# -- custody ------------------------------------------------------------------------------------


def _custody_document() -> Kind:
    data, older = _custody(b"m", events=3), _custody(b"m", events=2)
    mine = msgspec.json.decode(data, type=custodyproof.CustodyDocument)
    assert mine.ledger is not None
    assert mine.cloud is not None
    trusted = frozenset({mine.ledger.public_key, mine.cloud.public_key})
    return Kind(
        name="custody document",
        data=data,
        fields=members(data),
        read=lambda found: custodyproof.verify(found, trusted=trusted),
        theirs=_custody(b"t", events=3),
        older=older,
    )


def _custody(key: bytes, *, events: int) -> bytes:
    mine, cloud = Secret(key * 32), Secret(b"c" * 32)
    document = custodyproof.CustodyDocument(
        job_name="job", ledger=_signed_ledger(mine), cloud=_signed_log(cloud, events)
    )
    return msgspec.json.encode(document)


def _signed_ledger(key: Secret) -> custodyproof.SignedLedger:
    ledger = Ledger(SimDisk(), "custody.jsonl", clock=ManualClock())
    ledger.append("prepared", drive="A", by="anna", details={"to": "E:"})
    ledger.append("sealed", drive="A", by="anna", details={})
    lines = ledger.lines()
    head = custodyproof.ledger_head(staged.SEED_ID, lines)
    return custodyproof.SignedLedger(
        seed_id=staged.SEED_ID,
        lines=tuple(line.decode() for line in lines),
        public_key=sign.public_key(key).hex(),
        signature=sign.sign(key, custodyproof.LEDGER_PURPOSE, head).hex(),
    )


def _signed_log(key: Secret, count: int) -> custodyproof.SignedCloudLog:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        for event in ("listed", "received", "started")[:count]:
            happening = Happening(event=event, drive="A", detail={"by": "station"})
            custody.append(connection, job(), happening, actor="station:1")
        found = custody.entries(connection, job().job_id)
    engine.dispose()
    head = custodyproof.cloud_head(job().job_id, count=count, digest=found[-1].digest)
    return custodyproof.SignedCloudLog(
        job_id=job().job_id,
        tenant_id=job().tenant_id,
        intact=True,
        events=tuple(
            custodyproof.CloudEvent(
                number=each.number,
                at=each.at.isoformat(),
                actor=each.actor,
                event=each.event,
                drive=each.drive,
                detail=None if each.detail is None else dict(each.detail),
                detail_digest=each.detail_digest,
                digest=each.digest,
            )
            for each in found
        ),
        public_key=sign.public_key(key).hex(),
        signature=sign.sign(key, custodyproof.CLOUD_PURPOSE, head).hex(),
    )


# -- what nothing signs -------------------------------------------------------------------------


def _identity_file() -> Kind:
    data = _identity("1")
    fields: Fields = {}
    for element in _ELEMENTS:
        start = data.index(f"<{element}>".encode()) + 1
        fields[f"{element}: its name"] = (start, len(element))
        fields[element] = (start + len(element) + 1, 2)  # not the hyphens of a UUID
    return Kind(
        name="OfflineApplicationParams.xml",
        data=data,
        fields=fields,
        read=parse_identity,
        theirs=_identity("2"),
    )


def _identity(digit: str) -> bytes:
    return encode_identity(
        OfflineIdentity(
            tenant_id=f"{digit * 8}-1111-4111-8111-111111111111",
            client_id=f"{digit * 8}-2222-4222-8222-222222222222",
            user_id=f"{digit * 8}-3333-4333-8333-333333333333",
            subscription_id=f"{digit * 8}-4444-4444-8444-444444444444",
            url="https://cloud.example:8443",
            ca_pem="",
            storage_account="harbourdata",
            thumbprint="1" * 40,
        )
    )


def _description() -> Kind:
    data = _described("charts/tide.png", "ab")
    return Kind(
        name="blob description",
        data=data,
        fields=members(data) | {"format_version: its name": (data.index(b"format"), 1)},
        read=lambda found: decode_description(found, name="charts/tide.png"),
        theirs=_described("charts/ebb.png", "ab"),
        older=_described("charts/tide.png", "cd"),
    )


def _described(name: str, digest: str) -> bytes:
    return encode_description(
        BlobDescription(
            name=name,
            blob_type="PageBlob",
            sha256=digest * 32,
            properties={"Content-Type": "image/png"},
            metadata={"Project": "Lantern"},
        )
    )
