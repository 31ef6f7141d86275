"""One run of a policy as `overland backup now` does it, with a folder in place of the network.

    python bench/agentrun.py create POLICY SOURCE STAGING MEAN_CHUNK_KIB
    python bench/agentrun.py stage|send POLICY VAULT

`create` saves a policy as `overland policy create` does, without its checks.  `stage` writes the
first copy to the policy's staging location; `send` makes a recovery point on the newest one, and
sends it to the folder VAULT.  The home folder is that of `OVERLAND_HOME`, and keys, data path,
spool, durability and progress are the program's own: only the questions to the cloud (who may
write where, is the job done) are left out.
"""

import sys
from pathlib import Path
from uuid import uuid4

import msgspec

import overland.cli  # noqa: F401 - first, as in the program: it says how often to look for cycles
from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent.datapath import Made
from overland.agent.policy import OfflineSettings, Policy, SeedPhase
from overland.cli.log import configure_logging
from overland.cli.machine import AgentMachine, open_agent
from overland.values import PointId, SeedId


def main() -> None:
    """Do what the arguments say."""
    what, policy, *rest = sys.argv[1:]
    configure_logging(default="warning")
    with open_agent(exclusive=True) as machine:
        if what == "create":
            _create(machine, policy, *rest)
            return
        (vault,) = rest
        made = _stage(machine, policy) if what == "stage" else _send(machine, policy, Path(vault))
        progress = machine.policies.progress(policy)
        machine.policies.record(
            policy, msgspec.structs.replace(progress, last_point_id=made.point_id)
        )
    print(f"made {made.point_id}: {dict(made.statistics)}")


def _create(
    machine: AgentMachine, name: str, source: str, staging: str, mean_chunk_kib: str
) -> None:
    offline = OfflineSettings(
        staging_location=staging,
        publish_settings=f"{staging}.publishsettings",
        job_name="bench-job",
        subscription_id="11111111-2222-4333-8444-555555555555",
        storage_account="bench",
        container="seeds",
    )
    machine.policies.save(
        Policy(
            name=name,
            sources=(source,),
            first_copy="offline",
            offline=offline,
            mean_chunk_kib=int(mean_chunk_kib),
        )
    )


def _stage(machine: AgentMachine, name: str) -> Made:
    policy, progress = machine.policies.load(name), machine.policies.progress(name)
    seed_id, point_id = SeedId(str(uuid4())), PointId(str(uuid4()))
    machine.policies.record(
        name,
        msgspec.structs.replace(
            progress, phase=SeedPhase.STAGING, seed_id=seed_id, seed_point_id=point_id
        ),
    )
    return machine.data_path().stage(policy, seed_id=seed_id, point_id=point_id).made


def _send(machine: AgentMachine, name: str, vault: Path) -> Made:
    policy, progress = machine.policies.load(name), machine.policies.progress(name)
    assert progress.last_point_id is not None, "the first copy was staged before"
    assert progress.seed_id is not None, "the first copy was staged before"
    return machine.data_path().send(
        policy,
        base=PointId(progress.last_point_id),
        seed_id=SeedId(progress.seed_id),
        vault=FolderObjects(PosixFiles(vault)),
    )


main()
