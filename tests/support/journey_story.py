"""The acts of the journey, from the first backup to the last proof."""

import shutil

import msgspec
from tests.support.journey import JOB, PASSPHRASE, POLICY, Scene
from tests.support.journey_faults import Life
from tests.support.journey_machines import PACK_BYTES
from tests.support.journey_proof import expect_missing, prove_before_adoption, prove_everything
from tests.support.journey_station import ARM, TRACKING, import_drives, receive, send_back

from overland.adapters.volumes import create_folder_volume
from overland.agent.keys import publish, rotate_master
from overland.agent.policy import OfflineSettings, Policy, SeedPhase
from overland.agent.run import WAITING, Outcome
from overland.agent.setup import initialise, parse_vault_credentials, register
from overland.crypto.keyring import Argon2Parameters
from overland.diskprep import ship, submit
from overland.diskprep.prepare import choose_seed, prepare_drives, record_for
from overland.diskprep.record import Preparation, ReturnAddress, ReturnShipping, ShippingForm
from overland.errors import RefusedError, Unreachable
from overland.seeding.placement import cost_bytes, fixed_bytes

__all__ = ["tell"]

_CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)
_FORM = ShippingForm(
    carrier="FedEx",
    tracking_number=TRACKING,
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


def tell(scene: Scene) -> None:
    """Live through the whole story of a scene; what must hold is asserted on the way."""
    _found(scene)
    scene.build()
    _protect(scene)
    _stage(scene)
    _while_on_the_way(scene, has_job=False)
    prepared = _prepare(scene)
    _while_on_the_way(scene)
    _ship(scene, prepared)
    _rotate_master(scene)
    _while_on_the_way(scene)
    lost = _damage(scene)
    prove_before_adoption(scene)
    receive(scene, [serial for serial in scene.drives if serial not in lost])
    _while_on_the_way(scene)
    import_drives(scene)
    _after_import(scene, lost)
    _online(scene)
    prove_everything(scene)


# -- before the journey -------------------------------------------------------------------------


def _found(scene: Scene) -> None:
    """Make the customer's account, as an administrator does."""
    root = scene.cloud.root_token
    tenant = scene.ask(root, "POST", "/v1/tenants", {"name": "harbour"})
    admin = tenant["token"]
    made = scene.ask(admin, "POST", "/v1/subscriptions", {"name": "production"})
    subscription = made["subscription_id"]
    group = f"/subscriptions/{subscription}/resourceGroups/rg"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/harbourdata"
    vault = f"{group}/providers/Microsoft.RecoveryServices/vaults/vault-1"
    where = {"location": "westeurope"}
    scene.ask(admin, "PUT", f"{group}?{ARM}", where)
    scene.ask(admin, "PUT", f"{account}?{ARM}", where)
    scene.ask(admin, "PUT", f"{account}/blobServices/default/containers/seeds?{ARM}", {})
    vault_id = scene.ask(admin, "PUT", f"{vault}?{ARM}", where)["properties"]["vaultId"]
    settings = f"/v1/subscriptions/{subscription}/publish-settings"
    scene.settings = scene.ask(admin, "POST", settings, {"job_name": JOB})["xml"].encode()
    station = {"role": "station", "expires_in_days": 365}
    scene.world = {
        "admin": admin,
        "subscription": subscription,
        "group": group,
        "account": account,
        "vault": vault_id,
        "station": scene.ask(root, "POST", "/v1/tokens", station)["token"],
    }


def _protect(scene: Scene) -> None:
    """Make the source computer's keys, register it, and make an offline policy."""
    world = scene.world
    credentials = msgspec.json.encode(
        scene.ask(world["admin"], "POST", f"/v1/vaults/{world['vault']}/credentials")
    )

    def set_up(life: Life) -> None:
        machine = scene.source_computer(life)
        initialise(
            machine.home,
            computer_name="harbour-1",
            passphrase=PASSPHRASE,
            random=scene.rng.randbytes,
            cost=_CHEAP,
        )
        found = parse_vault_credentials(credentials, now=machine.clock.now())
        register(machine.home, found, http=machine.http(found.registration_token))
        publish(machine.home, machine.vault())
        machine.policies.save(_policy(scene))

    scene.calm(set_up)


def _policy(scene: Scene) -> Policy:
    return Policy(
        name=POLICY,
        sources=(str(scene.source),),
        first_copy="offline",
        offline=OfflineSettings(
            staging_location=str(scene.staging),
            publish_settings=str(scene.folder / "settings.xml"),
            job_name=JOB,
            subscription_id=scene.world["subscription"],
            storage_account="harbourdata",
            container="seeds",
        ),
        in_transit="wait" if scene.story.in_transit == "wait" else "protect",
        mean_chunk_kib=16,
    )


def _stage(scene: Scene) -> None:
    while scene.progress().phase in {SeedPhase.CONFIGURED, SeedPhase.STAGING}:
        scene.run("manual")
    location = scene.copy_computer(Life()).staging(scene.staging)
    (found,) = location.seeds()
    scene.manifest = location.open(found.seed_id).manifest
    packs = sum(item.name.startswith("packs/") for item in scene.manifest.objects)
    size_bytes = sum(item.size_bytes for item in scene.manifest.objects)
    scene.note(f"the seed has {packs} packs, {size_bytes} bytes")
    assert packs > 1, "a seed of one pack would not try much"


def _while_on_the_way(scene: Scene, *, has_job: bool = True) -> None:
    """Let days pass, work go on, and the schedule run."""
    scene.set_clocks()
    if scene.rng.random() < 0.5:
        scene.pass_time(scene.rng.uniform(0.1, 2.5))
    made = len(scene.kept) - 1
    if made >= scene.story.runs_in_transit or scene.rng.random() < 0.3:
        return
    scene.work()
    outcome = scene.run("schedule")
    assert outcome.result == ("waiting" if has_job else "no-job"), outcome
    assert (WAITING in outcome.messages) == has_job
    assert (outcome.made is None) == (scene.story.in_transit == "wait"), outcome


# -- drives -------------------------------------------------------------------------------------


def _prepare(scene: Scene) -> Preparation:
    """Fill drives, any of them first, and create the import job."""
    assert scene.manifest is not None, "the seed is staged"
    costs = [cost_bytes(item.size_bytes) for item in scene.manifest.objects]
    room_bytes = sum(costs) // scene.story.drive_count + max(costs) // 2
    room_bytes = max(room_bytes, *costs) + fixed_bytes(1 << 16)
    paths = []
    for number in range(scene.story.drive_count + 3):
        path = scene.folder / "drives" / f"D-{number}"
        create_folder_volume(path, serial=path.name, capacity_bytes=room_bytes)
        paths.append(path)
    paths = scene.shuffled(paths)

    def prepared(life: Life, replace: str | None = None) -> Preparation:
        computer = scene.copy_computer(life)
        bench, location = computer.bench(paths), computer.staging(scene.staging)
        seed = choose_seed(location, bench.questions)
        record = record_for(seed, bench, staging=location.path)
        service = computer.service(record.subscription_id)
        try:
            submit.find_job(record, bench, service)
        except Unreachable:
            scene.note("  the network is down, and the drives are filled all the same")
        done = prepare_drives(seed, bench, staging=location.path, replace=replace)
        return submit.submit(done, bench, service)

    done = scene.do("disk prepare", prepared)
    if scene.story.replaces:
        broken = scene.rng.choice(done.sealed()).serial
        paths.remove(scene.folder / "drives" / broken)
        scene.note(f"drive {broken} is found broken before it is shipped")
        done = scene.do("disk prepare --replace", lambda life: prepared(life, broken))
    if scene.story.doubled:
        again = scene.do("disk prepare, again", prepared)
        assert again.drives == done.drives, "what is finished stays as it is"
    objects = scene.manifest.objects
    for drive in done.sealed():
        scene.drives[drive.serial] = scene.folder / "drives" / drive.serial
        scene.loads[drive.serial] = [objects[number].name for number in drive.numbers()]
    scene.note(f"drives: { {serial: len(names) for serial, names in scene.loads.items()} }")
    assert len(scene.drives) > 1, "the seed needs more drives than one"
    assert sum(map(len, scene.loads.values())) == len(objects), "every object is on one drive"
    assert room_bytes > PACK_BYTES, "a pack fits on a drive"
    return done


def _ship(scene: Scene, prepared: Preparation) -> None:
    """Tell the datacenter of the parcel; two parcels for one job are refused (R92)."""

    def shipped(life: Life, form: ShippingForm = _FORM) -> Preparation:
        computer = scene.copy_computer(life)
        bench = computer.bench(())
        record = bench.preparations.find(prepared.seed_id)
        if record is None:  # as `overland disk ship --staging` on another computer
            location = computer.staging(scene.staging)
            record = record_for(location.open(prepared.seed_id), bench, staging=location.path)
        record = ship.keep(record, form, bench)
        service = computer.service(record.subscription_id)
        if record.job is None:
            record = submit.find_job(record, bench, service)
        return ship.commit(record, form, bench, service)

    if scene.story.strangers:
        both = msgspec.structs.replace(_FORM, tracking_number=f"{TRACKING}, 794600000009")
        try:
            scene.calm(lambda life: shipped(life, both))
        except RefusedError as refused:
            scene.note(f"two parcels are refused: {refused}")
        else:
            raise AssertionError("one job travels in one parcel")
    if scene.story.ships_elsewhere:
        scene.note("the copy computer is gone; another one ships")
        shutil.rmtree(scene.folder / "copy")
        (scene.folder / "copy").mkdir()
    scene.do("disk ship", shipped)
    if scene.story.doubled:
        scene.do("disk ship, again", shipped)
    scene.calm(lambda life: scene.copy_computer(life).bench(()).ledger(prepared).events())


def _rotate_master(scene: Scene) -> None:
    """In every other story take a new master key, while the seed travels under the old one."""
    if scene.seed % 2:
        return
    kits = list[str]()

    def rotated(life: Life) -> None:
        machine = scene.source_computer(life)
        rotate_master(
            machine.home,
            machine.vault(),
            passphrase="staple battery horse correct",
            random=scene.rng.randbytes,
            keep=kits.append,
            cost=_CHEAP,
        )

    scene.calm(rotated)
    scene.passphrase = "staple battery horse correct"
    scene.note("a new master key")


def _damage(scene: Scene) -> list[str]:
    """Do to the drives what a parcel's way does; return those that are lost."""
    story = scene.story
    serials = scene.shuffled(sorted(scene.drives))
    lost = serials[: min(story.lost, len(serials) - 1)]
    for serial in lost:
        scene.note(f"drive {serial} is lost")
    for serial in serials[len(lost) :][: story.flips]:
        packs = [name for name in scene.loads[serial] if name.startswith("packs/")]
        if packs:
            scene.flip_bit(serial, scene.rng.choice(packs))
    rest = serials[len(lost) + story.flips :]
    if story.breaks and len(rest) > 1:
        scene.broken = rest[0]
        scene.note(f"drive {rest[0]} cannot be opened any more")
    if story.overdue:
        scene.pass_time(15)
    return lost


# -- after the station --------------------------------------------------------------------------


def _after_import(scene: Scene, lost: list[str]) -> None:
    """Adopt; what did not come is named, and comes late, or over the network."""
    is_returned = scene.story.returns_first and not (lost and scene.story.is_late)
    if is_returned:
        send_back(scene)
    _try_adoption(scene, expect_missing(scene, lost))
    if lost and scene.story.is_late:
        scene.pass_time(scene.rng.uniform(0.1, 4))
        receive(scene, lost)
        import_drives(scene)
        _try_adoption(scene, expect_missing(scene, []))
    if scene.progress().phase is not SeedPhase.ONLINE:
        before = scene.sent_to_vault()
        missing = expect_missing(scene, [] if scene.story.is_late else lost)
        outcome = scene.run("manual")
        assert outcome.phase is SeedPhase.ONLINE, outcome
        seed = {item.name for item in scene.manifest.objects} if scene.manifest else set()
        sent = (scene.sent_to_vault() - before) & seed
        assert sent == set(missing), "exactly what is missing goes over the network"
        scene.sent_again = sent
    if not is_returned:
        send_back(scene)


def _try_adoption(scene: Scene, missing: list[str]) -> None:
    outcome = scene.run("schedule")
    if not missing:
        assert outcome.phase is SeedPhase.ONLINE, outcome
        return
    assert outcome.result == "incomplete", outcome
    named = _named(outcome)
    assert named == missing, f"adoption names {named}, and {missing} are missing"


def _named(outcome: Outcome) -> list[str]:
    lines = [line.split() for line in outcome.messages if line.startswith("  ")]
    return sorted(words[1] for words in lines)


# -- afterwards ---------------------------------------------------------------------------------


def _online(scene: Scene) -> None:
    """Go on over the network, as ever after."""
    for _ in range(scene.rng.randrange(1, 3)):
        scene.pass_time(1)
        scene.work()
        outcome = scene.run("schedule")
        assert (outcome.result, outcome.phase) == ("point", SeedPhase.ONLINE), outcome
