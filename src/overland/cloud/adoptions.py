"""Adoption as the control plane sees it: when it may begin, how far it is, what its end means.

Two steps begin it, because the work must not start before the transaction that enters it is
durable: `enter` inside the transaction, `Adoption.launch` after it.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from overland.cloud import seedlinks, seedwork
from overland.cloud.computers import load as load_computer
from overland.cloud.identity import Permission
from overland.cloud.nextsteps import is_adoptable
from overland.cloud.refusals import Conflict, ResourceAbsent
from overland.cloud.services import Call
from overland.jobs.seeds import Seed, apply_to_seed, find_seed, save_seed
from overland.jobs.states import SeedEvent, SeedState
from overland.ports.clock import Clock
from overland.values import SeedId
from overland.vault.adoption import AdoptionRequest, AdoptionStatus
from overland.vault.attempts import AttemptState

__all__ = ["enter", "on_adoption_ended", "settled", "status"]


def enter(call: Call, seed_id: str) -> str:
    """Enter an attempt to adopt a seed, or find the present one; return its key to launch.

    Raises:
        Conflict: The drives of no job have all been processed, or the seed has no manifest.
    """
    seed = settled(call, seedwork.editable_seed(call, seed_id, Permission.ADOPT_SEEDS))
    adoption = call.services.adoption
    if seed.state in (SeedState.ADOPTING, SeedState.ONLINE):
        return adoption.begin(call.connection, _request(call, seed))
    if not is_adoptable(seed, seedlinks.jobs_of(call, seed)):
        raise Conflict("seed_id", f"the seed is {seed.state}, and its drives are not all imported")
    key = adoption.begin(call.connection, _request(call, seed))
    save_seed(call.connection, apply_to_seed(seed, SeedEvent.ADOPTION_STARTED, at=call.at))
    return key


def status(call: Call, seed_id: str) -> AdoptionStatus:
    """Return how the last attempt stands.

    Raises:
        ResourceAbsent: There was none, or no such seed.
    """
    call.require(Permission.READ_SEEDS)
    seed = settled(call, seedwork.get_seed(call, seed_id))
    found = call.services.adoption.status(call.connection, seed.seed_id)
    if found is None:
        raise ResourceAbsent(f"adoption of seed {seed_id} yet")
    return found


def settled(call: Call, seed: Seed) -> Seed:
    """Return the seed, brought back from an adoption of which only the engine knows the end.

    Work that raised has no transaction of its own that could have said so.
    """
    if seed.state is not SeedState.ADOPTING:
        return seed
    found = call.services.adoption.status(call.connection, seed.seed_id)
    if found is None or found.state != "failed":
        return seed
    returned = apply_to_seed(seed, SeedEvent.ADOPTION_FELL_SHORT, at=call.at)
    save_seed(call.connection, returned)
    return returned


def on_adoption_ended(clock: Clock) -> Callable[[Connection, SeedId, AttemptState], None]:
    """Return what the vault calls in the transaction that ends an attempt; twice is once."""

    def ended(connection: Connection, seed_id: SeedId, state: AttemptState) -> None:
        """Move the seed to its next state in the caller's transaction, unless it left adoption."""
        seed = find_seed(connection, seed_id)
        if seed is None or seed.state is not SeedState.ADOPTING:
            return  # abandoned meanwhile, or told before
        event = SeedEvent.ADOPTED if state == "done" else SeedEvent.ADOPTION_FELL_SHORT
        save_seed(connection, apply_to_seed(seed, event, at=clock.now()))

    return ended


def _request(call: Call, seed: Seed) -> AdoptionRequest:
    computer = load_computer(call, seed.source_computer_id)
    assert seed.manifest_sha256 is not None, "a seed with a job to adopt has its manifest"
    return AdoptionRequest(
        seed_id=seed.seed_id,
        manifest_name=seedwork.manifest_name(seed, seed.manifest_sha256),
        manifest_sha256=seed.manifest_sha256,
        source_computer_id=computer.source_computer_id,
        repository_id=computer.repository_id,
        public_key=computer.signing_public_key,
        container_space=seed.space,
        vault_space=f"vaults/{seed.vault_id}",
    )
