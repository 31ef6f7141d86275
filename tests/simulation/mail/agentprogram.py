"""The agent's program of a story; see `overland.cli.machine`."""

from collections.abc import Callable
from typing import Any

import msgspec
from tests.support.journey_machines import SourceComputer, files_of
from typing_extensions import override

from overland.adapters.programs import SystemPrograms
from overland.agent import signing
from overland.agent.backup.plan import BackupPlan
from overland.agent.data import LocalDataPath
from overland.agent.run import PolicyRun
from overland.agent.setup import load_keys
from overland.agent.signingcloud import SigningCloud
from overland.ports.progress import NullProgress
from overland.values import PointId

__all__ = ["AgentProgram"]


class _DataPath(LocalDataPath):
    """The data path with small packs and one worker; tells of each point that it begins."""

    pack_bytes = 1 << 15
    began: Callable[[PointId], None]

    @override
    def _plan(self, *args: Any, **fields: Any) -> BackupPlan:  # Any: whatever it takes
        plan = super()._plan(*args, **fields)
        self.began(plan.point_id)
        size = self.pack_bytes
        return msgspec.structs.replace(plan, pack_bytes=size, first_pack_bytes=size, workers=1)


class AgentProgram(SourceComputer):
    """One life of the agent's program."""

    pack_bytes: int
    began: Callable[[PointId], None]

    def go_on_with_keys(self) -> None:
        if self.home.is_signing_key_changing():
            signing.go_on(self.home, self.vault(), self.signing_cloud())

    def signing_cloud(self) -> SigningCloud:
        registered = self.home.registration()
        http = self.http(registered.token)
        return SigningCloud(http, source_computer_id=registered.source_computer_id)

    def data_path(self) -> LocalDataPath:
        state = self.folder / "repository"
        state.mkdir(exist_ok=True)
        made = _DataPath(
            home=self.home,
            keys=load_keys(self.home),
            state_folder=state,
            files_of=files_of(self.life),
            scratch_of=files_of(self.life),
            clock=self.clock,
            meter=NullProgress(),
            programs=SystemPrograms(),
        )
        made.pack_bytes, made.began = self.pack_bytes, self.began
        return made

    @override
    def runner(self) -> PolicyRun:
        self.go_on_with_keys()
        connection = self.connection()
        return PolicyRun(
            policies=self.policies,
            connection=connection,
            data=self.data_path(),
            open_grant=lambda grant: self.open_grant(
                grant, renew=lambda: connection.vault_grant(policy_id=grant.policy_id)
            ),
            clock=self.clock,
            meter=NullProgress(),
        )
