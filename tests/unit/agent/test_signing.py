"""Replacing the signing key: two homes, a catalog that moves, a vault that others write to."""

import hashlib
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.cloud import LocalCloud
from tests.support.rotating import CHEAP, NEW, OLD, Rotating, Town

from overland.agent.keys import (
    KeyringBehind,
    change_passphrase,
    generations,
    publish,
    rotate_master,
)
from overland.agent.refusals import SigningChangeUnderWay
from overland.agent.setup import load_keys
from overland.agent.signing import SigningKeyBehind, go_on
from overland.agent.signingcloud import enter_change
from overland.agent.vouching import NotLeftOut, PointsUnreadable
from overland.cloud.reclaims import begin_due
from overland.crypto.keyring import encode_keyring, former_signers_of
from overland.crypto.keyringproof import renumbered
from overland.crypto.keys import PassphraseKept, PassphraseWrong, SecretReplaced
from overland.crypto.slots import PassphraseTooShort
from overland.errors import NotAuthorised, Unreachable
from overland.ports.http import RefusedByCloud
from overland.values import key_change_name, keyring_name, point_name

LAST = 99_999_999


class Stop(Exception):
    """The command ends here, as if it had been killed."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with LocalCloud(tmp_path) as cloud:
        yield Town(cloud)


@pytest.fixture
def computer(town: Town) -> Rotating:
    made = Rotating(town)
    made.back_up()
    return made


def begun(computer: Rotating) -> None:
    """Begin, and stop before the cloud is asked."""

    def stop(*_: object, **__: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("overland.agent.signing.enter_change", stop)
        with pytest.raises(Stop):
            computer.rotate()
    assert computer.home.is_signing_key_changing()


def test_after_it_the_keyring_names_the_change_and_both_homes_have_it(computer: Rotating) -> None:
    old = load_keys(computer.home).document.signing_public_key
    computer.rotate()
    document = load_keys(computer.home).document
    (former,) = former_signers_of(document)
    assert former.public_key == old
    name = key_change_name(1, former.change_sha256)
    assert computer.disk.read(name) == computer.vault.read(name)
    assert computer.home.identity().signing_public_key == document.signing_public_key
    computer.back_up()


def test_a_list_that_grew_stale_is_made_again(computer: Rotating) -> None:
    """A catalog that moves on under the command: a seed is adopted, another point is recorded."""
    moves = iter([True, True, True, False])
    late: list[str] = []

    def move() -> None:
        if next(moves, False):
            version = computer.connection.chains().chain_version
            made = computer.connection.publish_point(computer.point(), chain_version=version)
            late.append(made.point_id)

    computer.rotate(meanwhile=move)
    assert len(late) == 3
    believed = computer.believed(computer.opened(passphrase=NEW))
    assert set(late) < believed
    assert len([*computer.vault.names("keychanges/")]) == 4, "the others lie there, unused"
    assert len([*computer.disk.names("keychanges/")]) == 1


def test_a_catalog_that_never_rests_ends_the_command_and_not_the_change(
    computer: Rotating,
) -> None:
    def move() -> None:
        version = computer.connection.chains().chain_version
        computer.connection.publish_point(computer.point(), chain_version=version)

    with pytest.raises(RefusedByCloud) as refused:
        computer.rotate(meanwhile=move)
    assert refused.value.reason == "chain-changed"
    computer.back_up()
    computer.rotate()
    computer.back_up()


def test_two_copies_of_a_home_folder_end_in_one_change(computer: Rotating) -> None:
    other = computer.copy()
    begun(computer)
    begun(other)
    other.rotate()
    other.back_up()
    with pytest.raises(SigningKeyBehind):
        computer.rotate()
    assert not computer.home.is_signing_key_changing()
    assert len(list(computer.disk.names("master"))) == 1, "nothing of it is left"
    with pytest.raises(KeyringBehind):
        computer.back_up()
    other.back_up()


def test_an_old_home_folder_that_begins_after_the_change_makes_nothing(computer: Rotating) -> None:
    other = computer.copy()
    computer.rotate()
    with pytest.raises(SigningKeyBehind):
        other.rotate()
    with pytest.raises(NotAuthorised):
        other.connection.chains()  # its token has ended
    with pytest.raises(KeyringBehind):
        other.back_up()
    assert len(other.kits) == 1
    assert not other.home.is_signing_key_changing()


def test_an_earlier_form_that_arrives_late_is_taken_up(
    computer: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request was on its way when the command was killed; a newer form was made since."""
    sent: list[tuple[str, str]] = []

    def lose(_: object, *, source_computer_id: str, number: int, sha256: str) -> None:
        assert number == 1
        sent.append((source_computer_id, sha256))
        raise Unreachable("the cloud does not answer")

    first, second = computer.town.credentials(), computer.town.credentials()
    with monkeypatch.context() as broken:
        broken.setattr("overland.agent.signing.enter_change", lose)
        for credentials in (first, second):
            with pytest.raises(Unreachable):
                computer.rotate(credentials=credentials)
    assert sent[0] != sent[1], "the credentials are in it"
    enter_change(
        computer.town.http(first.registration_token),
        source_computer_id=sent[0][0],
        number=1,
        sha256=sent[0][1],
    )
    point_id = computer.back_up()
    assert not computer.home.is_signing_key_changing()
    (former,) = former_signers_of(load_keys(computer.home).document)
    assert former.change_sha256 == sent[0][1]
    assert point_id in computer.believed(computer.opened(passphrase=NEW))


def test_other_changes_wait_until_it_is_finished(computer: Rotating) -> None:
    begun(computer)
    with pytest.raises(SigningChangeUnderWay):
        change_passphrase(
            computer.home,
            computer.vault,
            passphrase="a third one, quite long",
            random=secrets.token_bytes,
            cost=CHEAP,
        )
    computer.back_up()
    computer.rotate()
    computer.back_up()


def test_a_keyring_that_is_published_meanwhile_leaves_the_new_master_key(
    computer: Rotating,
) -> None:
    begun(computer)
    publish(computer.home, computer.vault)  # as a backup does where the vault lost the keyring
    computer.rotate()
    assert not computer.home.is_signing_key_changing()
    made = computer.back_up()
    assert made in computer.believed(computer.opened(passphrase=NEW))


@pytest.mark.parametrize(
    ("passphrase", "refusal"),
    [("x" * 15, PassphraseTooShort), (OLD, PassphraseKept)],
    ids=["short", "kept"],
)
def test_a_passphrase_that_is_refused_changes_nothing(
    computer: Rotating, passphrase: str, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        computer.rotate(passphrase=passphrase)
    assert not computer.home.is_signing_key_changing()
    assert len(computer.kits) == 1
    computer.back_up()


def test_it_can_be_done_again_and_all_points_count(computer: Rotating) -> None:
    made = {first := computer.back_up()}
    for number in range(3):
        computer.rotate(passphrase=f"passphrase number {number}")
        made.add(computer.back_up())
    keys = computer.opened(passphrase="passphrase number 2")
    assert made < computer.believed(keys)
    assert len(former_signers_of(load_keys(computer.home).document)) == 3
    with pytest.raises(NotLeftOut, match="earlier change"):
        computer.rotate(without=(first,))


def test_what_a_thief_signs_with_each_former_key_is_refused(computer: Rotating) -> None:
    stolen = [computer.key]
    for number in range(2):
        computer.rotate(passphrase=f"passphrase number {number}")
        stolen.append(computer.key)
    forged = {computer.point(by=key) for key in stolen[:-1]}
    for each in forged:
        with pytest.raises(RefusedByCloud) as refused:
            computer.connection.publish_point(each)
        assert refused.value.reason == "signing-key-retired"
    assert computer.believed(computer.opened(passphrase="passphrase number 1")).isdisjoint(forged)


def test_the_vault_took_the_number_of_the_new_keyring_meanwhile(
    computer: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the provider can do it: the keyring goes under the next number."""

    def take_number(*words: Any, **named: Any) -> None:  # Any: it hands everything on
        enter_change(*words, **named)
        for number in (2, 3):
            data = b"taken"
            computer.vault.put(
                keyring_name(number),
                [data],
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )

    monkeypatch.setattr("overland.agent.signing.enter_change", take_number)
    computer.rotate()
    assert generations(computer.home, computer.vault).here == 4
    computer.back_up()
    computer.opened(passphrase=NEW)


def test_a_keyring_made_with_the_old_master_key_stops_it_until_it_is_disowned(
    computer: Rotating,
) -> None:
    """Whoever has the stolen home folder can make one, while he can write to the vault."""
    thief = computer.copy()
    change_passphrase(
        thief.home,
        thief.vault,
        passphrase="the passphrase of a thief",
        random=secrets.token_bytes,
        cost=CHEAP,
    )
    with pytest.raises(KeyringBehind):
        computer.rotate()
    assert not computer.home.is_signing_key_changing()
    computer.rotate(disown=True)
    made = computer.back_up()
    assert made in computer.believed(computer.opened(passphrase=NEW))
    with pytest.raises((PassphraseWrong, SecretReplaced)):
        computer.opened(passphrase="the passphrase of a thief")


def test_a_keyring_with_the_last_number_stops_the_end_until_it_is_disowned(
    computer: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider has the old master key and puts it there while the command runs."""
    thief = computer.copy()
    for number in range(3):
        rotate_master(
            thief.home,
            None,
            passphrase=f"the passphrase of thief {number}",
            random=secrets.token_bytes,
            keep=thief.kits.append,
            cost=CHEAP,
        )
    keys = load_keys(thief.home)
    theirs = encode_keyring(renumbered(keys.document, keys.master, generation=LAST))

    def put_it_there(*words: Any, **named: Any) -> None:  # Any: as above
        enter_change(*words, **named)
        digest = hashlib.sha256(theirs).hexdigest()
        computer.vault.put(keyring_name(LAST), [theirs], size_bytes=len(theirs), sha256=digest)

    with monkeypatch.context() as broken:
        broken.setattr("overland.agent.signing.enter_change", put_it_there)
        with pytest.raises(KeyringBehind):
            computer.rotate()
    assert computer.home.is_signing_key_changing(), "nothing is lost"
    with pytest.raises(KeyringBehind):
        computer.back_up()
    go_on(computer.home, computer.vault, computer.cloud, disown=True)
    made = computer.back_up()
    assert made in computer.believed(computer.opened(passphrase=NEW))


def test_a_point_that_cannot_be_read_is_named(computer: Rotating) -> None:
    lost = computer.back_up()
    path = computer.town.folder / f"{computer.vault_prefix}{point_name(lost)}"
    path.write_bytes(b"the medium forgot")
    with pytest.raises(PointsUnreadable, match=lost):
        computer.rotate()
    computer.rotate(without=(lost,))
    assert lost not in {each.point_id for each in computer.connection.points()}


def test_a_deleted_base_that_cannot_be_read_is_named_before_anything_is_begun(
    computer: Rotating,
) -> None:
    base = computer.back_up()
    version = computer.connection.chains().chain_version
    above = computer.point(base=base)
    computer.connection.publish_point(above, chain_version=version)
    computer.connection.delete_point(base)
    computer.town.cloud.clock.advance(timedelta(days=15))
    begin_due(computer.town.cloud.services)
    path = computer.town.folder / f"{computer.vault_prefix}{point_name(base)}"
    whole = path.read_bytes()
    path.write_bytes(b"the medium forgot")
    with pytest.raises(PointsUnreadable, match=base):
        computer.rotate()
    assert not computer.home.is_signing_key_changing()
    path.write_bytes(whole)
    computer.rotate()
    assert {each.state for each in computer.connection.points()} == {"available"}


def test_a_forgery_that_was_there_before_is_listed_unless_it_is_left_out(
    computer: Rotating,
) -> None:
    """What the decision says it would not close, and how the operator closes it."""
    stolen = computer.key
    forged = [computer.point(by=stolen) for _ in range(2)]
    for each in forged:
        computer.connection.publish_point(each)
    computer.rotate(without=(forged[0],))
    believed = computer.believed(computer.opened(passphrase=NEW))
    assert forged[0] not in believed
    assert forged[1] in believed
