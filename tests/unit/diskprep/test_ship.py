"""Nothing is sent before it was reviewed; nothing that was typed is lost."""

import msgspec
import pytest
from tests.support import importservice, staged
from tests.support.importservice import JOB_PATH, FakeImportService, Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import Workbench, prepare_drives
from overland.diskprep.record import Preparation, ReturnAddress, ReturnShipping, ShippingForm
from overland.diskprep.ship import (
    NoJobYet,
    ShippingIncomplete,
    TrackingNumberReused,
    commit,
    keep,
    missing_fields,
    review,
)
from overland.diskprep.submit import submit
from overland.errors import Unreachable
from overland.ports.http import RefusedByCloud, Reply

FORM = ShippingForm(
    carrier="FedEx",
    tracking_number="000123456789",
    return_address=ReturnAddress(
        recipient_name="Ada Quist",
        street_address1="12 Quay Lane",
        city="Aarhus",
        postal_code="8000",
        country_or_region="Denmark",
        phone="+4500000000",
        email="disks@example.org",
    ),
    return_shipping=ReturnShipping(carrier_name="FedEx", carrier_account_number="000111222"),
)


@pytest.fixture
def service() -> FakeImportService:
    return FakeImportService()


@pytest.fixture
def work() -> Workbench:
    drive = SimDrive("D1", capacity_bytes=1 << 20)
    return bench(SimDrives(drive), Operator(drive.path))


@pytest.fixture
def prepared(work: Workbench, service: FakeImportService) -> Preparation:
    staging = SimDisk()
    staged.stage(staging, staged.objects())
    seed = staged.location(staging).open(staged.SEED_ID)
    done = prepare_drives(seed, work, staging=staged.STAGING)
    return submit(done, work, ImportService(service))


@pytest.mark.requirement("R98")
def test_committing_tells_the_service_and_keeps_a_record(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    done = commit(prepared, FORM, work, ImportService(service))

    properties = service.jobs[JOB_PATH]["properties"]
    assert properties["state"] == "Shipping"
    assert properties["deliveryPackage"] == {
        "carrierName": "FedEx",
        "trackingNumber": "000123456789",
        "driveCount": 1,
    }
    assert properties["returnAddress"]["streetAddress1"] == "12 Quay Lane"
    assert properties["returnShipping"]["carrierAccountNumber"] == "000111222"
    assert work.preparations.find(staged.SEED_ID) == done
    assert [entry.committed for entry in done.shipping] == [False, True]
    last = work.ledger(done).events()[-1]
    assert (last.event, last.drive, last.details["tracking_number"]) == (
        "handed over",
        "D1",
        "000123456789",
    )


@pytest.mark.requirement("R86")
def test_what_was_typed_is_kept_without_sending(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    half = ShippingForm(carrier="UPS")

    keep(prepared, half, work)

    stored = work.preparations.find(staged.SEED_ID)
    assert stored is not None
    assert stored.form() == half
    assert service.methods("PATCH") == 0


@pytest.mark.requirement("R101")
def test_an_edit_keeps_the_earlier_value_and_changes_no_state(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    shipped = commit(prepared, FORM, work, ImportService(service))
    corrected = msgspec.structs.replace(FORM, tracking_number="000999")

    done = commit(shipped, corrected, work, ImportService(service))

    committed = [entry.form.tracking_number for entry in done.shipping if entry.committed]
    assert committed == ["000123456789", "000999"]
    patches = [body["properties"] for method, _, body in service.requests if method == "PATCH"]
    assert ["state" in properties for properties in patches] == [True, False]


def test_a_run_that_was_killed_after_sending_ships_once(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    commit(prepared, FORM, work, ImportService(service))

    done = commit(prepared, FORM, work, ImportService(service))  # the record was never written

    patches = [body["properties"] for method, _, body in service.requests if method == "PATCH"]
    assert ["state" in properties for properties in patches] == [True, False]
    assert len(work.ledger(done).events()) == 3
    assert done.job is not None
    assert done.job.shipped_at is not None


@pytest.mark.parametrize("number", ["", "1", "two words", "x" * 65])
@pytest.mark.requirement("R92")
def test_a_malformed_tracking_number_is_refused_before_anything_is_sent(
    prepared: Preparation, work: Workbench, service: FakeImportService, number: str
) -> None:
    with pytest.raises(ShippingIncomplete):
        commit(
            prepared,
            msgspec.structs.replace(FORM, tracking_number=number),
            work,
            ImportService(service),
        )

    assert service.methods("PATCH") == 0


@pytest.mark.requirement("R96", "R102")
def test_every_required_field_is_asked_for() -> None:
    assert len(missing_fields(ShippingForm())) == 11
    assert missing_fields(FORM) == []


@pytest.mark.requirement("R97")
def test_the_review_shows_everything_that_was_typed(prepared: Preparation) -> None:
    text = review(prepared, FORM)

    address, back = FORM.return_address, FORM.return_shipping
    typed = [FORM.carrier, FORM.tracking_number, back.carrier_account_number]
    typed += [getattr(address, name) for name in address.__struct_fields__]
    assert [value for value in typed if value not in text] == []
    assert "D1" in text


@pytest.mark.requirement("R93")
def test_a_number_of_another_job_is_refused_with_its_name(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    commit(prepared, FORM, work, ImportService(service))
    other = msgspec.structs.replace(
        prepared, seed_id=staged.OTHER_SEED_ID, job_name="other", shipping=()
    )

    with pytest.raises(TrackingNumberReused) as refused:
        commit(other, FORM, work, ImportService(service))

    assert refused.value.job_name == "harbour-import-07"


def test_the_services_own_refusal_is_shown_and_the_entry_kept(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    fake = importservice.error(409, "TrackingNumberUsed", "used by import job tide-3")

    class Refusing:
        def request(self, method: str, path: str, **_: object) -> Reply:
            return fake if method == "PATCH" else service.request(method, path)

    with pytest.raises(RefusedByCloud, match="tide-3"):
        commit(prepared, FORM, work, ImportService(Refusing()))

    stored = work.preparations.find(staged.SEED_ID)
    assert stored is not None
    assert (stored.form(), stored.shipping[-1].committed) == (FORM, False)


def test_an_unreachable_service_leaves_the_entry_here(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    service.is_down = True

    with pytest.raises(Unreachable):
        commit(prepared, FORM, work, ImportService(service))

    stored = work.preparations.find(staged.SEED_ID)
    assert stored is not None
    assert stored.form() == FORM


def test_without_a_job_there_is_nothing_to_ship(
    prepared: Preparation, work: Workbench, service: FakeImportService
) -> None:
    with pytest.raises(NoJobYet):
        commit(msgspec.structs.replace(prepared, job=None), FORM, work, ImportService(service))
    service.jobs.clear()
    with pytest.raises(NoJobYet):
        commit(prepared, FORM, work, ImportService(service))
