"""`azure-mgmt-storageimportexport` 0.1.0, as Microsoft published it, against our served cloud."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.mgmt.storageimportexport import (  # type: ignore[import-untyped] # has no types
    StorageImportExport,
    models,
)
from msrest.authentication import BasicTokenAuthentication
from msrest.exceptions import AuthenticationError
from tests.clients.conftest import Served

pytestmark = pytest.mark.slow

GROUP = "rg-harbour"
KEY = "238810-662376-448998-450120-652806-203390-606320-483076"
HASH = "3148218129D7A878553B49D5CA314EAB"
_numbers = itertools.count(1)


def client_of(served: Served, token: str | None = None) -> StorageImportExport:
    credentials = BasicTokenAuthentication({"access_token": token or served.world.admin})
    made = StorageImportExport(credentials, served.world.subscription_id, base_url=served.url)
    made.config.connection.verify = served.ca
    return made


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[StorageImportExport]:
    with client_of(served) as made:
        yield made


@pytest.fixture
def name() -> str:
    return f"py-{next(_numbers)}"


def address(**changes: str) -> models.ReturnAddress:
    given = {
        "recipient_name": "Ada Quist",
        "street_address1": "12 Quay Lane",
        "city": "Aarhus",
        "postal_code": "8000",
        "country_or_region": "Denmark",
        "phone": "+4500000000",
        "email": "disks@example.org",
        **changes,
    }
    return models.ReturnAddress(state_or_province="", **given)


def drive(name: str) -> models.DriveStatus:
    return models.DriveStatus(
        drive_id=f"SERIAL-{name}",
        bit_locker_key=KEY,
        manifest_file="\\DriveManifest.xml",
        manifest_hash=HASH,
        drive_header_hash="",
    )


def import_job(served: Served, name: str, **changes: Any) -> models.PutJobParameters:
    given = {
        "storage_account_id": served.world.account_id,
        "job_type": "Import",
        "return_address": address(),
        "drive_list": [drive(name)],
        **changes,
    }
    return models.PutJobParameters(
        location="westus", tags={"project": "lantern"}, properties=models.JobDetails(**given)
    )


def parcel(number: str) -> models.PackageInfomation:
    return models.PackageInfomation(
        carrier_name="FedEx",
        tracking_number=number,
        drive_count=1,
        ship_date="3/14/2027 9:00:00 AM",
    )


def test_locations_are_listed_and_found_by_either_name(client: StorageImportExport) -> None:
    found = {each.name: each for each in client.locations.list()}
    assert len(found) == 32
    for name in ("westus", "West US"):
        location = client.locations.get(name)
        assert location.id == "/providers/Microsoft.ImportExport/locations/westus"
        assert location.recipient_name == "Example Import Dock"
        assert location.supported_carriers
        assert location.alternate_locations == [location.id]


def test_operations_are_listed(client: StorageImportExport) -> None:
    names = {each.name: each.provider for each in client.operations.list()}
    assert names["Microsoft.ImportExport/jobs/listBitLockerKeys/action"] == (
        "Microsoft Import/Export"
    )


def test_a_job_with_every_property_is_created_and_read_again(
    client: StorageImportExport, served: Served, name: str
) -> None:
    body = import_job(
        served,
        name,
        return_shipping=models.ReturnShipping(
            carrier_name="FedEx", carrier_account_number="000111222"
        ),
        shipping_information=None,
        delivery_package=parcel(f"TRACK-{name}"),
        diagnostics_path="logs",
        log_level="Verbose",
        backup_drive_manifest=True,
        state="Creating",
        cancel_requested=False,
    )
    made = client.jobs.create(name, GROUP, body)
    assert (made.name, made.type, made.location) == (name, "Microsoft.ImportExport/jobs", "westus")
    assert made.tags == {"project": "lantern"}
    got = client.jobs.get(name, GROUP)
    assert got.location == "West US", "PUT repeats the caller's spelling, GET has the name"
    for job in (made.properties, got.properties):
        assert (job.state, job.provisioning_state, job.job_type) == (
            *("Creating", "Succeeded", "Import"),
        )
        assert (job.log_level, job.backup_drive_manifest, job.diagnostics_path) == (
            *("Verbose", True, "logs"),
        )
        assert job.return_address.street_address2 == ""
        assert job.return_shipping.carrier_account_number == "000111222"
        assert job.delivery_package.ship_date == "3/14/2027 9:00:00 AM"
        assert job.shipping_information.recipient_name == "Example Import Dock"
        assert job.return_package is None
        (listed,) = job.drive_list
        assert (listed.drive_id, listed.state, listed.bit_locker_key) == (
            *(f"SERIAL-{name}", "Specified", None),
        )
        assert (listed.manifest_hash, listed.drive_header_hash) == (HASH, "")


def test_what_was_read_can_be_put_again(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    read = client.jobs.get(name, GROUP)
    again = models.PutJobParameters(
        location=read.location, tags=read.tags, properties=read.properties
    )
    written = client.jobs.create(name, GROUP, again)
    assert written.properties.drive_list[0].drive_id == f"SERIAL-{name}"
    (key,) = client.bit_locker_keys.list(name, GROUP)
    assert key.bit_locker_key == KEY


def test_an_export_job_is_kept_as_it_was_asked_for(
    client: StorageImportExport, served: Served, name: str
) -> None:
    wanted = models.Export(blob_path=["charts/index.json"], blob_path_prefix=["/music/love", "/"])
    body = import_job(served, name, job_type="Export", drive_list=None, export=wanted)
    job = client.jobs.create(name, GROUP, body).properties
    assert (job.job_type, job.drive_list) == ("Export", [])
    assert job.export.blob_path == ["charts/index.json"]
    assert job.export.blob_path_prefix == ["/music/love", "/"]
    other = models.Export(blob_listblob_path="$root/list.xml")
    body = import_job(served, name, job_type="Export", drive_list=None, export=other)
    job = client.jobs.create(name, GROUP, body).properties
    assert (job.export.blob_listblob_path, job.export.blob_path) == ("$root/list.xml", None)
    assert list(client.bit_locker_keys.list(name, GROUP)) == []


def test_keys_are_listed_by_their_own_request(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    (key,) = client.bit_locker_keys.list(name, GROUP)
    assert (key.drive_id, key.bit_locker_key) == (f"SERIAL-{name}", KEY)


def test_a_job_is_changed_shipped_and_followed_to_its_end(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    changed = client.jobs.update(
        name,
        GROUP,
        models.UpdateJobParameters(
            tags={"project": "beacon"},
            state="",
            return_address=address(city="Odense"),
            return_shipping=models.ReturnShipping(
                carrier_name="DHL", carrier_account_number="333444555"
            ),
            log_level="Verbose",
            backup_drive_manifest=True,
            drive_list=[drive(name)],
        ),
    )
    assert (changed.tags, changed.properties.return_address.city) == (
        *({"project": "beacon"}, "Odense"),
    )
    assert changed.properties.state == "Creating"
    shipped = models.UpdateJobParameters(state="Shipping", delivery_package=parcel(f"P-{name}"))
    assert client.jobs.update(name, GROUP, shipped).properties.state == "Shipping"
    served.take_in(name, f"SERIAL-{name}")
    ended = client.jobs.get(name, GROUP).properties
    assert (ended.state, ended.percent_complete) == ("Completed", 100)
    assert (ended.return_package.tracking_number, ended.return_package.drive_count) == (
        *(f"BACK-{name}", 1),
    )
    assert ended.return_package.ship_date
    (returned,) = ended.drive_list
    assert (returned.state, returned.bytes_succeeded) == ("ShippedBack", 1733001216)
    client.jobs.delete(name, GROUP)


def test_a_job_is_cancelled_and_deleted(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    job = client.jobs.update(name, GROUP, models.UpdateJobParameters(cancel_requested=True))
    assert (job.properties.cancel_requested, job.properties.state) == (True, "Creating")
    assert client.jobs.delete(name, GROUP) is None
    with pytest.raises(models.ErrorResponseException) as refused:
        client.jobs.get(name, GROUP)
    assert refused.value.error.code == "ResourceNotFound"


def test_lists_have_pages_and_filters(client: StorageImportExport, served: Served) -> None:
    names = {f"page-{number}" for number in range(5)}
    for each in names:
        client.jobs.create(each, GROUP, import_job(served, each))
    pages = client.jobs.list_by_resource_group(GROUP, top=2)
    first = pages.advance_page()
    assert len(first) == 2
    assert pages.next_link.startswith(served.url)
    assert "$skiptoken=" in pages.next_link
    in_group = list(client.jobs.list_by_resource_group(GROUP, top=2))
    in_subscription = list(client.jobs.list_by_subscription(top=2))
    assert names <= {each.name for each in in_group} == {each.name for each in in_subscription}
    assert all(each.properties.drive_list is None for each in in_group)
    assert all(each.properties.drive_list for each in in_subscription if each.name in names)
    wanted = "state eq 'Creating' and name ne 'page-0' and jobType eq 'Import'"
    filtered = client.jobs.list_by_subscription(filter=wanted, top=1)
    assert {each.name for each in filtered} >= names - {"page-0"}
    assert "page-0" not in {each.name for each in client.jobs.list_by_subscription(filter=wanted)}


REFUSED: dict[str, tuple[Callable[[StorageImportExport, Served], object], int, str]] = {
    "no job": (lambda client, _: client.jobs.get("nothing", GROUP), 404, "ResourceNotFound"),
    "no group": (
        lambda client, _: client.jobs.get("nothing", "rg-none"),
        *(404, "ResourceGroupNotFound"),
    ),
    "no location": (lambda client, _: client.locations.get("mars"), 404, "ResourceNotFound"),
    "eleven drives": (
        lambda client, served: client.jobs.create(
            "bad",
            GROUP,
            import_job(served, "bad", drive_list=[drive(f"bad-{n}") for n in range(11)]),
        ),
        *(400, "InvalidRequestContent"),
    ),
    "too many at once": (
        lambda client, _: list(client.jobs.list_by_subscription(top=101)),
        *(400, "InvalidRequestContent"),
    ),
    "an unknown field in a filter": (
        lambda client, _: list(client.jobs.list_by_subscription(filter="colour eq 'red'")),
        *(400, "InvalidRequestContent"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_are_the_clients_own_typed_error(
    client: StorageImportExport, served: Served, what: str
) -> None:
    ask, status, code = REFUSED[what]
    with pytest.raises(models.ErrorResponseException) as refused:
        ask(client, served)
    assert refused.value.response.status_code == status
    assert refused.value.error.code == code
    assert refused.value.error.message


def test_a_refused_step_says_why_and_changes_nothing(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    with pytest.raises(models.ErrorResponseException) as refused:
        client.jobs.update(name, GROUP, models.UpdateJobParameters(state="Shipping"))
    assert refused.value.error.code == "InvalidJobState"
    assert "tracking number" in refused.value.error.message
    assert client.jobs.get(name, GROUP).properties.state == "Creating"


def test_names_in_any_case_lead_to_the_same_job(
    client: StorageImportExport, served: Served, name: str
) -> None:
    client.jobs.create(name, GROUP, import_job(served, name))
    assert client.jobs.get(name.upper(), GROUP.upper()).name == name


def test_a_token_that_is_not_good_is_refused(served: Served) -> None:
    with client_of(served, "ov1_nobody_nothing") as client:
        with pytest.raises((models.ErrorResponseException, AuthenticationError)) as refused:
            client.jobs.get("nothing", GROUP)
        assert refused.value.error.code == "InvalidAuthenticationToken"


def test_another_version_is_refused_as_the_resource_manager_does(served: Served) -> None:
    with client_of(served) as client:
        client.locations.api_version = "2019-01-01"
        with pytest.raises(models.ErrorResponseException) as refused:
            client.locations.get("westus")
    assert refused.value.error.code == "NoRegisteredProviderFound"
    assert "2021-01-01" in refused.value.error.message
