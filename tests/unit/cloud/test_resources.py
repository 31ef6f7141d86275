"""Resource groups, storage accounts, containers and vaults."""

import pytest
from tests.support.cloud import ARM, LocalCloud, LocalHttp, World


@pytest.fixture
def world(cloud: LocalCloud) -> World:
    return cloud.world()


@pytest.fixture
def http(cloud: LocalCloud, world: World) -> LocalHttp:
    return cloud.http(world.admin)


def put(http: LocalHttp, path: str, **body: object) -> int:
    return http.request("PUT", f"{path}?{ARM}", json={"location": "westeurope", **body}).status


def test_putting_what_exists_keeps_it(http: LocalHttp, world: World) -> None:
    container = f"{world.account_id}/blobServices/default/containers/seeds"
    vault = f"{world.group}/providers/Microsoft.RecoveryServices/vaults/VAULT-1"
    for path in (world.group.upper(), world.account_id, container, vault):
        assert put(http, path) == 200
    found = http.ok("GET", f"{vault}?{ARM}")
    assert (found["name"], found["properties"]["vaultId"]) == ("vault-1", world.vault_id)


def test_everything_is_listed_where_it_is(http: LocalHttp, world: World) -> None:
    subscription = f"/subscriptions/{world.subscription_id}"
    for path, count in (
        (f"{subscription}/resourceGroups", 1),
        (f"{subscription}/providers/Microsoft.Storage/storageAccounts", 1),
        (f"{world.group}/providers/Microsoft.Storage/storageAccounts", 1),
        (f"{world.account_id}/blobServices/default/containers", 1),
        (f"{subscription}/providers/Microsoft.RecoveryServices/vaults", 1),
        (f"{world.group}/providers/Microsoft.RecoveryServices/vaults", 1),
    ):
        listed = http.ok("GET", f"{path}?{ARM}")["value"]
        assert len(listed) == count, path
        assert http.ok("GET", f"{listed[0]['id']}?{ARM}") == listed[0]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("abc", 200),
        ("a" * 24, 200),
        ("ab", 400),
        ("a" * 25, 400),
        ("Abc", 400),
        ("a-c", 400),
        ("aé1", 400),
    ],
)
def test_account_names_follow_the_rule(
    http: LocalHttp, world: World, name: str, status: int
) -> None:
    path = f"{world.group}/providers/Microsoft.Storage/storageAccounts/{name}"
    assert put(http, path) == status


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("abc", 201),
        ("1-a-2", 201),
        ("a" * 63, 201),
        ("ab", 400),
        ("a" * 64, 400),
        ("a--b", 400),
        ("-ab", 400),
        ("ab-", 400),
        ("Abc", 400),
        ("a_b", 400),
    ],
)
def test_container_names_follow_the_rule(
    http: LocalHttp, world: World, name: str, status: int
) -> None:
    assert put(http, f"{world.account_id}/blobServices/default/containers/{name}") == status


@pytest.mark.parametrize("kind", ["BlobStorage", "BlockBlobStorage", "odd"])
@pytest.mark.requirement("R18")
def test_an_account_that_cannot_hold_page_blobs_is_refused(
    http: LocalHttp, world: World, kind: str
) -> None:
    path = f"{world.group}/providers/Microsoft.Storage/storageAccounts/otherdata"
    assert put(http, path, kind=kind) == 400


@pytest.mark.parametrize(
    "path",
    [
        "{group}-other",
        "{group}-other/providers/Microsoft.Storage/storageAccounts/otherdata",
        "{account}other",
        "{account}/blobServices/default/containers/other",
        "{account}/blobServices/other/containers/seeds",
        "{group}/providers/Microsoft.RecoveryServices/vaults/other",
    ],
)
def test_what_is_not_there_is_absent(http: LocalHttp, world: World, path: str) -> None:
    filled = path.format(group=world.group, account=world.account_id)
    assert http.request("GET", f"{filled}?{ARM}").status == 404


def test_a_resource_needs_its_group_first(http: LocalHttp, world: World) -> None:
    path = f"{world.group}-other/providers/Microsoft.RecoveryServices/vaults/v"
    assert put(http, path) == 404


@pytest.mark.parametrize("name", ["a" * 91, "ends.", "semi;colon"])
def test_group_names_follow_the_rule(http: LocalHttp, world: World, name: str) -> None:
    assert put(http, f"/subscriptions/{world.subscription_id}/resourceGroups/{name}") == 400
