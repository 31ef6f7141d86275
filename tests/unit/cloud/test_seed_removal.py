"""Clean-up of a container: only when nobody needs it, and only the seed's own folder."""

import pytest
from tests.support.cloudsamples import Journey


@pytest.fixture
def path(journey: Journey) -> str:
    return f"{journey.seed_path}/clean-up"


def space(journey: Journey) -> str:
    return f"accounts/{journey.world.account}/{journey.world.container}"


def landed(journey: Journey) -> set[str]:
    found = journey.cloud.services.spaces.open(space(journey)).names()
    return {info.name for info in found}


@pytest.mark.requirement("R129")
@pytest.mark.parametrize("stop", ["announce", "stage", "to_dock", "imported"])
def test_what_landed_stays_until_the_vault_has_it(journey: Journey, path: str, stop: str) -> None:
    getattr(journey, stop)()
    before = landed(journey)
    reply = journey.agent.request("POST", path)
    assert (reply.status, landed(journey)) == (409, before)


@pytest.mark.requirement("R129")
def test_an_adopted_seed_leaves_nothing_behind_and_its_point_is_whole(
    journey: Journey, path: str
) -> None:
    journey.imported()
    journey.agent.ok("POST", f"{journey.seed_path}/adoption")
    journey.cloud.put_object(space(journey), "others/kept.bin", b"not the seed's")
    removed = journey.agent.ok("POST", path)
    assert removed["objects"] == len(journey.seed.contents)
    assert removed["size_bytes"] == sum(map(len, journey.seed.contents.values()))
    assert landed(journey) == {"others/kept.bin"}
    vault = journey.cloud.services.spaces.open(f"vaults/{journey.world.vault_id}")
    stored = [info.name for info in vault.names()]
    for name in journey.seed.contents:
        assert any(each.endswith(f"/{name}") for each in stored), name
    assert journey.agent.ok("POST", path)["objects"] == 0


@pytest.mark.requirement("R131")
def test_a_seed_that_was_given_up_is_cleaned_up_when_the_station_is_done(
    journey: Journey, path: str
) -> None:
    journey.to_dock()
    journey.land()
    journey.agent.ok("PATCH", journey.seed_path, {"state": "Abandoned"})
    assert journey.agent.request("POST", path).status == 409, "the station is at work"
    for serial in journey.serials:
        journey.report(serial, "started")
        journey.report(serial, "completed", percent=100)
    assert journey.agent.ok("POST", path)["objects"] == len(journey.seed.contents)


def test_only_the_seeds_own_side_may(journey: Journey, path: str) -> None:
    journey.imported()
    journey.agent.ok("POST", f"{journey.seed_path}/adoption")
    assert journey.station.request("POST", path).status == 403
    assert journey.copy_computer().request("POST", path).status == 403
    assert landed(journey)
