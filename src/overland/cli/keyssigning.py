"""`overland keys rotate --signing`: another signing key, after the home folder was stolen."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from overland.agent import signing, vouching
from overland.agent.home import AgentNotRegistered, VaultCredentials
from overland.agent.policy import SeedPhase
from overland.agent.refusals import OtherVault
from overland.agent.setup import parse_vault_credentials
from overland.agent.signing import Asked, NewKeys
from overland.agent.signingcloud import SigningCloud
from overland.agent.vouching import Inventory, ListedPoint
from overland.cli.machine import AgentMachine, http_to, open_agent
from overland.cli.outcome import confirm, count_text, is_interactive, note, show, size_text
from overland.errors import ObjectAbsent, RefusedError
from overland.format.key_change import Vouched
from overland.ports.http import RefusedByCloud
from overland.values import SeedId

__all__ = ["PointsUnknown", "SeedUnannounced", "rotate_signing"]

_SHOWN = 40  # so many unknown points does an error name


class SeedUnannounced(RefusedError):
    """A seed is staged, and the cloud cannot be told of it before the signing key is replaced."""

    code = "seed-unannounced"

    def __init__(self, policy: str, *, why: str) -> None:
        super().__init__(
            f"the first copy of policy {policy} is not announced to the cloud ({why}), and what "
            "the present signing key signed would not count any more; nothing was changed: run "
            f"`overland backup now {policy}` first, or `overland seed abandon {policy}`"
        )
        self.policy = policy


class PointsUnknown(RefusedError):
    """The vault has recovery points that this computer's records do not lead to."""

    code = "points-unknown"

    def __init__(self, points: Sequence[ListedPoint]) -> None:
        rest = f" and {len(points) - _SHOWN} more" if len(points) > _SHOWN else ""
        named = [f"{each.point_id} of {each.created_at:%Y-%m-%d %H:%M}" for each in points]
        super().__init__(
            f"the vault has {count_text(len(points), 'recovery point')} that this computer's "
            "records do not lead to; nothing was changed. Look at them, and run again with "
            "`--without POINT` for each that is not yours, and `--accept-unknown` for the others: "
            f"{', '.join(named[:_SHOWN])}{rest}"
        )
        self.point_ids = tuple(each.point_id for each in points)


def rotate_signing(
    *,
    credentials_file: Path,
    without: Sequence[str],
    accept_unknown: bool,
    new: NewKeys,
    check_kit_file: Callable[[], None],
    as_json: bool,
) -> None:
    """Replace signing key, master key, passphrase and recovery kit, or finish doing so."""
    with open_agent(exclusive=True) as machine:
        machine.home.identity()
        is_new = not machine.home.is_signing_key_changing()
        if is_new:
            check_kit_file()
        credentials = _credentials(machine, credentials_file)
        http = http_to(
            credentials.url, token=credentials.registration_token, ca_pem=credentials.ca_pem
        )
        # Whoever has a copy of the home folder writes nothing from here on.
        registration = signing.register_again(machine.home, credentials, http=http)
        cloud, vault = machine.signing_cloud(), machine.vault()
        if not is_new:
            note("going on with the change that was begun; its passphrase and recovery kit stay")

        def take() -> Inventory:
            """Announce the staged seeds, then list; as `_announce` and `vouching.take`."""
            _announce(machine, cloud)
            return vouching.take(machine.home, vault, cloud, meter=machine.meter)

        signing.rotate_signing(
            machine.home,
            vault,
            cloud,
            asked=Asked(registration=registration, credentials=credentials, http=http),
            new=new,
            take=take,
            choose=_Choice(machine, without=without, accepts=accept_unknown),
        )
        generation = signing.newest_generation(machine.home)
        key = machine.home.identity().signing_public_key
    left = "".join(f"\nleft out: recovery point {each}" for each in without)
    show(
        {"keyring": generation, "signing_public_key": key, "without": list(without)},
        "signing key, master key, passphrase and recovery kit were replaced: keyring "
        f"{generation} counts from now on, here and in the vault{left}\n"
        "What the old key signed before counts where it is; what it signs from now on does not.\n"
        "Drives and staging locations made before still open with what opened them then: see "
        "docs/how-to/when-a-computer-is-stolen.md",
        as_json=as_json,
    )


def _credentials(machine: AgentMachine, file: Path) -> VaultCredentials:
    if not machine.home.is_registered():
        raise AgentNotRegistered
    credentials = parse_vault_credentials(file.read_bytes(), now=machine.clock.now())
    registered = machine.registration()
    if registered.vault_id != credentials.vault_id:
        raise OtherVault(registered.vault_name)
    return credentials


def _announce(machine: AgentMachine, cloud: SigningCloud) -> None:
    """Tell the cloud of every seed that is staged and that it does not know.

    Raises:
        SeedUnannounced: It cannot be told of one.
    """
    for name in machine.policies.names():
        progress = machine.policies.progress(name)
        staged = progress.phase in (SeedPhase.STAGING, SeedPhase.AWAITING_IMPORT)
        if not staged or progress.announced or progress.seed_id is None:
            continue
        policy, seed_id = machine.policies.load(name), SeedId(progress.seed_id)
        assert policy.offline is not None, "only offline policies have a seed"
        try:
            manifest = machine.data_path().staged_manifest(policy, seed_id=seed_id)
        except ObjectAbsent:
            if (
                progress.phase is SeedPhase.STAGING
                and Path(policy.offline.staging_location).is_dir()
            ):
                continue  # it is being staged, and will be signed with the new key
            why = f"{policy.offline.staging_location} does not have it whole; is it mounted?"
            raise SeedUnannounced(name, why=why) from None
        try:
            cloud.put_manifest(seed_id, manifest)
        except (ObjectAbsent, RefusedByCloud) as refused:
            raise SeedUnannounced(name, why=str(refused)) from None


class _Choice:
    """What of an inventory is vouched for; asks once for each point that nobody knows here."""

    def __init__(self, machine: AgentMachine, *, without: Collection[str], accepts: bool) -> None:
        self._machine, self._without, self._accepts = machine, without, accepts
        self._accepted: set[str] = set()

    def __call__(self, inventory: Inventory) -> list[Vouched]:
        """Return the list.

        Raises:
            PointsUnknown: There are points that nobody knows here, and that nobody accepts.
            NotLeftOut, PointsUnreadable: As `Inventory.vouched`.
        """
        known = vouching.known_points(self._machine.policies, inventory.points)
        seen = {*known, *self._without, *self._accepted}
        unknown = [e for e in inventory.points if e.is_living and e.point_id not in seen]
        if unknown and not self._accepts:
            if not is_interactive():
                raise PointsUnknown(unknown)
            note("this computer's records do not lead to these recovery points:")
            for each in unknown:
                note(f"  {_row(each)}")
            if not confirm("Are they yours, and shall they count?", option="--accept-unknown"):
                raise PointsUnknown(unknown)
        self._accepted.update(each.point_id for each in unknown)
        return inventory.vouched(self._without)


def _row(point: ListedPoint) -> str:
    made = f"{point.created_at:%Y-%m-%d %H:%M}"
    return f"{point.point_id}  {made}  {point.kind:<11}  {size_text(point.size_bytes)}"
