"""Source computers, seeds, adoption and grants (`/v1`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from overland.cloud import (
    access,
    adoptions,
    computers,
    keychanges,
    seedlinks,
    seedmissing,
    seedremoval,
    seedwork,
)
from overland.cloud.identity import Permission
from overland.cloud.nextsteps import is_ready_to_adopt, next_step
from overland.cloud.refusals import Invalid
from overland.cloud.seedwork import SeedRequest
from overland.cloud.services import Call
from overland.jobs.seeds import Seed
from overland.jobs.states import SeedState
from overland.server.answers import MADE, SIGNED, SignedDocument
from overland.server.bodies import (
    GrantBody,
    KeyChangeBody,
    RegistrationBody,
    SeedBody,
    SeedPatchBody,
)
from overland.server.caller import Caller, Needs
from overland.server.views import Json, instant, job_view, next_step_view
from overland.vault.adoption import AdoptionStatus

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["Backups"])

Registering = Annotated[Caller, Depends(Needs(Permission.REGISTER_COMPUTERS))]
ComputerReader = Annotated[Caller, Depends(Needs(Permission.READ_COMPUTERS))]
SeedReader = Annotated[Caller, Depends(Needs(Permission.READ_SEEDS))]
SeedWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_SEEDS))]
SeedEditor = Annotated[Caller, Depends(Needs(Permission.EDIT_SEEDS))]
SeedAdopter = Annotated[Caller, Depends(Needs(Permission.ADOPT_SEEDS))]
Granted = Annotated[Caller, Depends(Needs(Permission.GET_GRANTS))]


@router.post("/source-computers", responses=MADE)
def register(body: RegistrationBody, response: Response, caller: Registering) -> Json:
    """Enter a source computer into a vault (201), or give it a new token (200)."""
    with caller.call() as call:
        done = computers.register(
            call,
            name=body.name,
            repository_id=body.repository_id,
            signing_public_key=body.signing_public_key,
            token_sha256=caller.token_sha256,
            proof=body.proof,
        )
    response.status_code = 201 if done.is_new else 200
    return {
        "source_computer_id": done.computer.source_computer_id,
        "vault_id": done.computer.vault_id,
        "token": done.token,
    }


@router.get("/source-computers/{source_computer_id}")
def get_computer(source_computer_id: str, caller: ComputerReader) -> Json:
    """Return a source computer."""
    with caller.call() as call:
        found = computers.get_computer(call, source_computer_id)
        former = computers.owner_of(call, found).former
    return {
        "source_computer_id": found.source_computer_id,
        "vault_id": found.vault_id,
        "name": found.name,
        "repository_id": found.repository_id,
        "signing_public_key": found.signing_public_key,
        "former_signers": [
            {"public_key": each.public_key, "change_sha256": each.change_sha256} for each in former
        ],
        "created_at": instant(found.created_at),
    }


@router.post("/source-computers/{source_computer_id}/key-changes")
def change_key(source_computer_id: str, body: KeyChangeBody, caller: Registering) -> Json:
    """Let a change of the signing key take effect that is in the vault; again changes nothing."""
    done = keychanges.change_key(
        caller.services,
        caller.principal,
        source_computer_id,
        number=body.number,
        sha256=body.sha256,
        token_sha256=caller.token_sha256,
    )
    return {
        "number": done.number,
        "signing_public_key": done.signing_public_key,
        "chain_version": done.chain_version,
    }


@router.post("/seeds")
def announce_seed(body: SeedBody, caller: SeedWriter) -> Json:
    """Announce a seed, after all checks of the offline page; again changes nothing."""
    with caller.call() as call:
        return _seed_view(call, seedwork.announce_seed(call, SeedRequest(**body.model_dump())))


@router.get("/seeds")
def list_seeds(caller: SeedReader) -> list[Json]:
    """Return the seeds that the caller may see."""
    with caller.call() as call:
        return [_seed_view(call, each) for each in seedwork.own_seeds(call)]


@router.get("/seeds/{seed_id}")
def get_seed(seed_id: str, caller: SeedReader) -> Json:
    """Return a seed, its import job, its adoption, and what has to happen next."""
    with caller.call() as call:
        return _seed_view(call, seedwork.get_seed(call, seed_id))


@router.patch("/seeds/{seed_id}")
def patch_seed(seed_id: str, body: SeedPatchBody, caller: SeedEditor) -> Json:
    """Correct the import job's name, or abandon the seed."""
    if (body.job_name is None) == (body.state is None):
        raise Invalid("body", "give either job_name or state")
    with caller.call() as call:
        if body.job_name is not None:
            return _seed_view(call, seedwork.relink_seed(call, seed_id, body.job_name))
        if body.state != SeedState.ABANDONED:
            raise Invalid("state", f"the only state that a client sets is {SeedState.ABANDONED}")
        return _seed_view(call, seedwork.abandon_seed(call, seed_id))


@router.put("/seeds/{seed_id}/manifest")
async def put_manifest(seed_id: str, request: Request, caller: SeedWriter) -> Json:
    """Take the signed list of what the drives will bring."""
    document = await request.body()

    def store() -> Json:
        """Store the manifest and return the seed as it is then; in a thread of its own."""
        seed = seedwork.put_manifest(caller.services, caller.principal, seed_id, document)
        with caller.call() as call:
            return _seed_view(call, seed)

    return await run_in_threadpool(store)


@router.get("/seeds/{seed_id}/manifest", response_class=SignedDocument, responses=SIGNED)
def get_manifest(seed_id: str, caller: SeedWriter) -> Response:
    """Return the signed list of what the drives bring, as its source computer sent it."""
    document = seedwork.get_manifest(caller.services, caller.principal, seed_id)
    return SignedDocument(document)


@router.get("/seeds/{seed_id}/missing")
def get_missing(seed_id: str, caller: SeedReader) -> Json:
    """Return which objects of a seed, by their place in its manifest, have not arrived."""
    found = seedmissing.find_missing(caller.services, caller.principal, seed_id)
    return {
        "seed_id": found.seed_id,
        "manifest_sha256": found.manifest_sha256,
        "objects": found.objects,
        "size_bytes": found.size_bytes,
        "runs": [list(run) for run in found.runs],
    }


@router.post("/seeds/{seed_id}/clean-up")
def clean_up(seed_id: str, caller: SeedEditor) -> Json:
    """Remove what landed of a seed from its container, once it is in the vault or given up."""
    removed = seedremoval.remove_landed(caller.services, caller.principal, seed_id)
    return {"objects": removed.objects, "size_bytes": removed.size_bytes}


@router.post("/seeds/{seed_id}/adoption")
def start_adoption(seed_id: str, caller: SeedAdopter) -> Json:
    """Let the vault take over what the drives brought; again after it fell short."""
    with caller.call() as call:
        key = adoptions.enter(call, seed_id)
    caller.services.adoption.launch(key)
    with caller.call() as call:
        return _adoption_view(adoptions.status(call, seed_id))


@router.get("/seeds/{seed_id}/adoption")
def get_adoption(seed_id: str, caller: SeedReader) -> Json:
    """Return how far adoption is."""
    with caller.call() as call:
        return _adoption_view(adoptions.status(call, seed_id))


@router.post("/grants")
def create_grant(body: GrantBody, caller: Granted) -> Json:
    """Return a grant for the data plane."""
    with caller.call() as call:
        match body.kind:
            case "vault":
                grant = access.vault_grant(call, policy_id=body.policy_id)
            case "seed-container" if body.seed_id is not None:
                grant = access.seed_container_grant(call, body.seed_id)
            case "import" if body.job_id is not None and body.container is not None:
                grant = access.blobs_grant(
                    call, body.job_id, container=body.container, replace=body.replace
                )
            case "export" if body.job_id is not None and body.container is not None:
                grant = access.export_grant(call, body.job_id, container=body.container)
            case "import" if body.job_id is not None:
                grant = access.import_grant(call, body.job_id)
            case _:
                kinds = "vault; seed-container with seed_id; import with job_id"
                raise Invalid("kind", f"use one of: {kinds}")
    return {
        "endpoint": grant.endpoint,
        "space": grant.space,
        "prefix": grant.prefix,
        "prefixes": list(grant.prefixes),
        "token": grant.token,
        "expires_at": instant(grant.expires_at),
    }


def _seed_view(call: Call, seed: Seed) -> Json:
    seed = adoptions.settled(call, seed)
    jobs = seedlinks.jobs_of(call, seed)
    adoption = call.services.adoption.status(call.connection, seed.seed_id)
    step = next_step(
        seed,
        jobs,
        missing=0 if adoption is None else len(adoption.missing),
        limits=call.services.limits,
        at=call.at,
    )
    return {
        "seed_id": seed.seed_id,
        "state": seed.state,
        "job_name": seed.job_name,
        "policy": seed.policy,
        "source_computer_id": seed.source_computer_id,
        "vault_id": seed.vault_id,
        "subscription_id": seed.subscription_id,
        "storage_account": seed.storage_account,
        "container": seed.container,
        "created_at": instant(seed.created_at),
        "job": job_view(jobs[-1]) if jobs else None,
        "earlier_jobs": [job_view(job) for job in jobs[:-1]],
        "ready_to_adopt": is_ready_to_adopt(seed, jobs),
        "adoption": None if adoption is None else _adoption_view(adoption),
        "next_step": next_step_view(step),
        "warnings": list(seed.warnings),
    }


def _adoption_view(status: AdoptionStatus) -> Json:
    return {
        "state": status.state,
        "attempt": status.number,
        "done_objects": status.done_objects,
        "total_objects": status.total_objects or 0,
        "done_bytes": status.done_bytes,
        "total_bytes": status.total_bytes or 0,
        "missing": [
            {"name": each.name, "size_bytes": each.size_bytes, "reason": each.reason}
            for each in status.missing
        ],
        "error": status.error,
    }
