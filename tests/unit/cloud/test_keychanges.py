"""A change of the signing key through the API: what it takes, and what it closes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.cloud import LocalCloud, registration_body
from tests.support.cloudsamples import Journey
from tests.support.keychanging import Changing, Draft, NewKey
from tests.support.landed import Computer, Seed, pack
from tests.support.reclaiming import point_id_of, replacement_of

from overland.crypto import sign
from overland.errors import SigningKeyRetired
from overland.format.key_change import Vouched
from overland.ports.http import RefusedByCloud, Reply
from overland.values import PointId, key_change_name, point_name, replacement_name
from overland.vault import catalog, chains
from overland.vault.chains import VaultChanged

DAY = timedelta(days=1)
OTHER_ID = "00000000-0000-4000-8000-000000000009"


@pytest.fixture
def scene(cloud: LocalCloud) -> Changing:
    made = Changing(cloud)
    made.back_up(1)
    made.back_up(2, base=1)
    return made


def code(reply: Reply) -> str:
    return str(reply.body["error"]["code"])


def test_the_new_key_counts_and_what_the_old_one_signed_is_where_it_is(scene: Changing) -> None:
    digest = scene.changed()
    assert scene.key() == sign.public_key(NewKey().key).hex()
    assert scene.signers()["former_signers"] == [
        {"public_key": sign.public_key(Computer().key).hex(), "change_sha256": digest}
    ]
    assert scene.back_up(3, base=2).state == "available"
    states = [(each.point_id, each.state) for each in scene.connection.points()]
    assert sorted(states) == [(point_id_of(n), "available") for n in (1, 2, 3)]
    again = scene.connection.publish_point(point_id_of(1), chain_version=99)
    assert again.state == "available", "its file is proven by the list"
    (event,) = scene.events()
    assert (event["event"], event["detail"]["number"]) == ("signing-key-changed", 1)
    assert event["actor"].startswith("registration:")


def test_what_the_old_key_signs_afterwards_is_refused(scene: Changing) -> None:
    scene.changed()
    with pytest.raises(RefusedByCloud) as refused:
        scene.back_up(3, by=Computer())
    assert refused.value.reason == "signing-key-retired"
    assert len(scene.connection.points()) == 2
    assert scene.back_up(4, by=NewKey()).state == "available"


def test_a_forgery_under_the_name_of_a_listed_point_is_refused(scene: Changing) -> None:
    """As the provider can do it, who writes to the storage."""
    scene.changed()
    _, forged = Computer().point(1, [pack("forged")], created_at=scene.cloud.clock.now())
    name = f"{scene.journey.computer_id}/{point_name(point_id_of(1))}"
    scene.provider.write(name, forged)
    with pytest.raises(RefusedByCloud) as refused:
        scene.connection.publish_point(point_id_of(1))
    assert refused.value.reason == "signing-key-retired"


def test_a_replacement_by_the_old_key_is_refused_unless_it_is_listed(scene: Changing) -> None:
    def put(number: int, by: Computer, gone: str, came: str) -> str:
        content = [pack(came)]
        scene.put(*content[0])
        replacement_id, document = replacement_of(
            by,
            number,
            keeps=[1, 2],
            replaced=[pack(gone)[0]],
            objects=content,
            created_at=scene.cloud.clock.now(),
        )
        scene.put(replacement_name(replacement_id), document)
        scene.files["replacement", replacement_id] = document
        return replacement_id

    def accept(replacement_id: str) -> int:
        version = scene.connection.chains().chain_version
        return scene.connection.accept_replacement(replacement_id, chain_version=version)

    listed = put(1, Computer(), "point 1", "first came")
    accept(listed)
    scene.changed()
    late = put(2, Computer(), "point 2", "second came")
    with pytest.raises(RefusedByCloud) as refused:
        accept(late)
    assert refused.value.reason == "signing-key-retired"
    accept(put(3, NewKey(), "point 2", "third came"))
    assert scene.back_up(5).state == "available", "the listed one still says what is needed"


def test_a_seed_manifest_by_the_old_key_is_refused(scene: Changing) -> None:
    scene.changed()
    scene.journey.announce()
    path = f"{scene.journey.seed_path}/manifest"
    reply = scene.journey.agent.request("PUT", path, raw=scene.journey.seed.document)
    assert (reply.status, code(reply)) == (400, "signing-key-retired")
    scene.journey.seed = Seed(computer=NewKey())
    reply = scene.journey.agent.request("PUT", path, raw=scene.journey.seed.document)
    assert reply.status == 200


def test_a_registration_by_the_old_key_is_refused(scene: Changing) -> None:
    scene.changed()
    world = scene.journey.world
    credentials = {"vault_id": world.vault_id, "registration_token": scene.token}
    http = scene.cloud.http(scene.token)

    def register(by: Computer) -> Reply:
        body = registration_body(
            credentials,
            name="srv-1",
            repository_id=Computer().owner.repository_id,
            signing_key=by.key,
        )
        return http.request("POST", "/v1/source-computers", json=body)

    refused = register(Computer())
    assert (refused.status, code(refused)) == (400, "signing-key-retired")
    assert register(NewKey()).status == 200


def test_the_same_request_again_gets_the_same_answer(scene: Changing) -> None:
    number, digest, data = scene.make(Draft())
    scene.put(key_change_name(number, digest), data)
    first, again = scene.enter(number, digest), scene.enter(number, digest)
    assert (first.status, first.body) == (again.status, again.body) == (200, first.body)
    scene.computer = NewKey()
    scene.back_up(7)
    later = scene.enter(number, digest, token=scene.credentials())
    assert later.body["signing_public_key"] == first.body["signing_public_key"]
    assert [each["event"] for each in scene.events()].count("signing-key-changed") == 1


def test_another_change_of_the_same_number_is_behind(scene: Changing) -> None:
    """Two copies of a home folder."""
    scene.changed()
    reply = scene.change(Draft(new=NewKey(signs=52), vouched=[]))
    assert (reply.status, code(reply)) == (409, "key-change-behind")
    assert scene.key() == sign.public_key(NewKey().key).hex()


def test_an_older_change_replayed_is_behind(scene: Changing) -> None:
    first, second = NewKey(), NewKey(signs=52)
    number, digest, data = scene.make(Draft())
    scene.put(key_change_name(number, digest), data)
    assert scene.enter(number, digest).status == 200
    scene.computer, scene.files = first, {}
    scene.back_up(3)
    scene.changed(Draft(number=2, old=first, new=second))
    # The very file is known and answered; one that says the same again is not.
    assert (
        scene.enter(number, digest).body["signing_public_key"] == sign.public_key(first.key).hex()
    )
    for draft in (Draft(), Draft(number=2, old=first, new=NewKey(signs=53))):
        reply = scene.change(draft)
        assert (reply.status, code(reply)) == (409, "key-change-behind")
    assert scene.key() == sign.public_key(second.key).hex()
    assert {each.state for each in scene.connection.points()} == {"available"}


def _agent_token(scene: Changing) -> Reply:
    return scene.change(token=scene.journey.agent._token or "")


def _admin_token(scene: Changing) -> Reply:
    return scene.change(token=scene.journey.world.admin)


def _other_vaults_credentials(scene: Changing) -> Reply:
    other = scene.cloud.world("other")
    path = f"/v1/vaults/{other.vault_id}/credentials"
    token = scene.cloud.http(other.admin).ok("POST", path)["registration_token"]
    return scene.change(Draft(token=token), token=token)


def _expired(scene: Changing) -> Reply:
    scene.cloud.clock.advance(11 * DAY)
    number, digest, data = scene.make(Draft(chain_version=2))
    scene.put(key_change_name(number, digest), data)
    return scene.enter(number, digest)


def _absent(scene: Changing) -> Reply:
    return scene.enter(1, "ab" * 32)


def _damaged(scene: Changing) -> Reply:
    number, digest, data = scene.make(Draft())
    name = f"{scene.journey.computer_id}/{key_change_name(number, digest)}"
    scene.provider.write(name, data.replace(b'"number":1', b'"number":2'))
    return scene.enter(number, digest)


def _replacement_left_out(scene: Changing) -> Reply:
    content = [pack("came")]
    scene.put(*content[0])
    replacement_id, document = replacement_of(
        Computer(),
        1,
        keeps=[1, 2],
        replaced=[pack("point 1")[0]],
        objects=content,
        created_at=scene.cloud.clock.now(),
    )
    scene.put(replacement_name(replacement_id), document)
    version = scene.connection.chains().chain_version
    scene.connection.accept_replacement(replacement_id, chain_version=version)
    return scene.change()


def _manifest_left_out(scene: Changing) -> Reply:
    scene.journey.seed = Seed(number=7)
    scene.announce_seed()
    return scene.change(Draft(vouched=scene.everything(without=[scene.journey.seed.seed_id])))


def _stale(scene: Changing) -> Reply:
    draft = Draft(chain_version=scene.connection.chains().chain_version)
    scene.back_up(3)
    return scene.change(draft)


def _as(**wrong: object) -> Callable[[Changing], Reply]:
    return lambda scene: scene.change(Draft(**wrong))  # type: ignore[arg-type] # fields of it


THIEF = Computer(number=9)
REFUSALS: dict[str, tuple[Callable[[Changing], Reply], int, str]] = {
    "with the computer's own token": (_agent_token, 403, "forbidden"),
    "with an administrator's token": (_admin_token, 403, "forbidden"),
    "with credentials of another vault": (_other_vaults_credentials, 404, "not-found"),
    "with credentials that have expired": (_expired, 401, "not-authorised"),
    "made for other credentials": (_as(token="ov1_other"), 409, "key-change-refused"),
    "that is not in the vault": (_absent, 400, "invalid"),
    "whose file is damaged": (_damaged, 400, "key-change-invalid"),
    "whose list is stale": (_stale, 409, "chain-changed"),
    "of a version to come": (_as(chain_version=99), 409, "chain-changed"),
    "that skips a number": (_as(number=2), 409, "key-change-behind"),
    "that ends another key": (_as(old=THIEF), 409, "key-change-behind"),
    "not signed by the old key": (_as(signed_by=(THIEF, NewKey())), 400, "signature-invalid"),
    "not signed by the new key": (_as(signed_by=(Computer(), THIEF)), 400, "signature-invalid"),
    "of another repository": (_as(repository_id=OTHER_ID), 400, "foreign"),
    "for another vault": (_as(vault_id=OTHER_ID), 400, "foreign"),
    "without the base of a point": (
        _as(vouched=[Vouched(kind="point", id=point_id_of(2), sha256="0" * 64)]),
        409,
        "key-change-refused",
    ),
    "without an accepted replacement": (_replacement_left_out, 409, "key-change-refused"),
    "without the manifest of a listed seed": (_manifest_left_out, 409, "key-change-refused"),
}


@pytest.mark.parametrize("way", sorted(REFUSALS))
def test_a_change_is_refused(scene: Changing, way: str) -> None:
    ask, status, expected = REFUSALS[way]
    before = scene.key()
    reply = ask(scene)
    assert (reply.status, code(reply)) == (status, expected), reply.body
    scene.journey.agent = scene.cloud.http(
        scene.cloud.register(
            scene.journey.world,
            name="srv-1",
            repository_id=Computer().owner.repository_id,
            signing_key=Computer().key,
        )["token"]
    )
    assert scene.key() == before
    assert "signing-key-changed" not in [each["event"] for each in scene.events()]


def test_a_former_key_does_not_come_back(scene: Changing) -> None:
    scene.changed()
    reply = scene.change(Draft(number=2, old=NewKey(), new=Computer()))
    assert (reply.status, code(reply)) == (409, "key-change-refused")


def test_a_point_that_is_left_out_is_given_up_and_reclaimed(scene: Changing) -> None:
    """What a thief had entered before."""
    stray = scene.back_up(3).point_id
    scene.changed(Draft(vouched=scene.everything(without=[stray])))
    assert [each.point_id for each in scene.connection.points()] == [point_id_of(1), point_id_of(2)]
    assert ("point-left-out", stray) in [(e["event"], e["subject"]) for e in scene.events()]
    with pytest.raises(RefusedByCloud) as refused:
        scene.connection.publish_point(PointId(stray))
    assert refused.value.reason == "signing-key-retired"
    scene.back_up(4)
    scene.journey.admin.ok("POST", "/v1/reclaims", {})
    scene.cloud.clock.advance(29 * DAY)
    (run,) = scene.journey.admin.ok("POST", "/v1/reclaims", {})
    assert (run["state"], run["objects_deleted"]) == ("done", 2)
    store = scene.cloud.spaces.open(f"vaults/{scene.journey.world.vault_id}")
    held = {info.name.partition("/")[2] for info in store.names(scene.journey.computer_id)}
    assert point_name(PointId(stray)) not in held
    assert sum(name.startswith("keychanges/") for name in held) == 1, "it stays for good"


def test_a_base_that_is_reclaimed_has_to_be_listed_too(scene: Changing) -> None:
    scene.connection.delete_point(point_id_of(1))
    scene.cloud.clock.advance(14 * DAY)
    scene.journey.admin.ok("POST", "/v1/reclaims", {})
    scene.token = scene.credentials()
    reply = scene.change(Draft(vouched=scene.everything(without=[point_id_of(1)])))
    assert (reply.status, code(reply)) == (409, "key-change-refused")
    scene.changed()
    assert [each.state for each in scene.connection.points()] == ["available"]


def test_what_was_listed_before_needs_no_new_list(scene: Changing) -> None:
    scene.changed()
    scene.back_up(3)
    scene.changed(Draft(number=2, old=NewKey(), new=NewKey(signs=52)))
    scene.back_up(4, base=2)
    assert {each.state for each in scene.connection.points()} == {"available"}
    assert len(scene.connection.points()) == 4
    scene.journey.admin.ok("POST", "/v1/reclaims", {})
    (run,) = scene.journey.admin.ok("GET", "/v1/reclaims")
    assert (run["state"], run["problem"]) == ("done", None)


def test_a_list_that_is_damaged_in_one_place_is_read_in_the_other(scene: Changing) -> None:
    digest = scene.changed()
    name, files = key_change_name(1, digest), scene.provider
    place = f"{scene.journey.computer_id}/{name}"
    copy = f"control/keychanges/{scene.journey.computer_id}/{name.removeprefix('keychanges/')}"
    kept = files.read(place)
    assert files.read(copy) == kept
    files.write(copy, b"the medium forgot")
    assert scene.connection.publish_point(point_id_of(1)).state == "available"
    files.delete(place)
    with pytest.raises(RefusedByCloud) as refused:
        scene.connection.publish_point(point_id_of(1))
    assert refused.value.reason == "key-change-missing", "neither damage nor forgery"
    scene.cloud.clock.advance(29 * DAY)
    (run,) = scene.journey.admin.ok("POST", "/v1/reclaims", {})
    assert (run["state"], run["objects_deleted"]) == ("refused", 0)
    files.write(place, kept)
    assert scene.connection.publish_point(point_id_of(1)).state == "available"


# Seeds in the mail.


def adopt(scene: Changing) -> str:
    path = f"{scene.journey.seed_path}/adoption"
    return str(scene.journey.agent.ok("POST", path)["state"])


def test_a_seed_in_the_mail_is_adopted_after_the_change(cloud: LocalCloud) -> None:
    scene = Changing(cloud)
    scene.announce_seed()
    scene.journey.prepare()
    scene.journey.ship()
    scene.changed()
    scene.journey.receive()
    scene.journey.land()
    job = scene.journey.station.ok("GET", f"/v1/station/jobs/{scene.journey.job_id}")
    seed = scene.journey.seed
    assert job["signing_public_key"] == sign.public_key(Computer().key).hex()
    assert job["manifest_sha256"] == hashlib.sha256(seed.document).hexdigest()
    scene.journey.report("ZX91K7Q0", "started")
    scene.journey.report("ZX91K7Q0", "completed", percent=100)
    assert adopt(scene) == "done"
    assert [each.state for each in scene.connection.points()] == ["available"]
    assert scene.back_up(5, base=1).state == "available"


def test_the_key_is_changed_while_a_seed_is_adopted(cloud: LocalCloud) -> None:
    """An attempt that was entered before goes on as what counts now says."""
    scene = Changing(cloud)
    lost = next(name for name in scene.journey.seed.contents if name.startswith("packs/"))
    scene.announce_seed()
    scene.journey.prepare()
    scene.journey.ship()
    scene.journey.receive()
    scene.journey.land(without=[lost])
    scene.journey.report("ZX91K7Q0", "started")
    scene.journey.report("ZX91K7Q0", "completed", percent=100)
    assert adopt(scene) == "incomplete"
    scene.changed()
    scene.journey.land()
    assert adopt(scene) == "done"


def test_a_seed_that_is_left_out_is_not_adopted(cloud: LocalCloud) -> None:
    scene = Changing(cloud)
    scene.announce_seed()
    scene.journey.prepare()
    scene.journey.ship()
    scene.journey.receive()
    scene.changed(Draft(vouched=[]))
    scene.journey.land()
    scene.journey.report("ZX91K7Q0", "started")
    scene.journey.report("ZX91K7Q0", "completed", percent=100)
    assert adopt(scene) == "failed"
    assert scene.connection.points() == []


def test_the_station_is_told_of_no_digest_while_the_key_counts(journey: Journey) -> None:
    journey.to_dock()
    job = journey.station.ok("GET", f"/v1/station/jobs/{journey.job_id}")
    assert job["signing_public_key"] == sign.public_key(Computer().key).hex()
    assert job["manifest_sha256"] is None


def test_a_manifest_that_is_sent_again_makes_an_older_list_stale(cloud: LocalCloud) -> None:
    scene = Changing(cloud)
    scene.announce_seed()
    stale = Draft(chain_version=scene.connection.chains().chain_version)
    seed = scene.journey.seed
    scene.journey.seed = replace(seed, packs=2)
    path = f"{scene.journey.seed_path}/manifest"
    reply = scene.journey.agent.request("PUT", path, raw=scene.journey.seed.document)
    assert reply.status == 200
    refused = scene.change(stale)
    assert (refused.status, code(refused)) == (409, "chain-changed")


def test_the_manifest_is_its_computers_to_read(cloud: LocalCloud) -> None:
    scene = Changing(cloud)
    scene.journey.announce()
    path = f"{scene.journey.seed_path}/manifest"
    assert scene.journey.agent.request("GET", path).status == 404, "none yet"
    scene.journey.stage()
    assert scene.journey.agent.request("GET", path).raw == scene.journey.seed.document
    assert scene.journey.admin.request("GET", path).status == 403


# Between the look and the entry.


def test_what_was_looked_at_before_the_change_is_looked_at_again(scene: Changing) -> None:
    owner = replace(Computer().owner, source_computer_id=scene.journey.computer_id)
    store = scene.cloud.spaces.open(f"vaults/{scene.journey.world.vault_id}")
    late = scene.put_point(3)
    with scene.cloud.database.begin() as connection:
        fence = chains.read_fence(connection, owner)
    finding = catalog.inspect(store, fence=fence, point_id=late)
    del scene.files["point", late]
    scene.changed()
    with scene.cloud.database.begin() as connection, pytest.raises(VaultChanged):
        catalog.record(connection, finding, at=scene.cloud.clock.now())
    with scene.cloud.database.begin() as connection:
        again = chains.read_fence(connection, owner)
    assert again.owner.public_key == sign.public_key(NewKey().key)
    with pytest.raises(SigningKeyRetired):
        catalog.inspect(store, fence=again, point_id=late)
