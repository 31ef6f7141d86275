"""The part of a story that happens over the network: runs, restores, reclaim and keys."""

import random
import shutil
from datetime import timedelta
from typing import Final, Literal

from tests.simulation.mail.doing import Doing, Refused
from tests.simulation.mail.parcels import Mail
from tests.simulation.mail.programs import Programs
from tests.simulation.mail.proof import Proof
from tests.simulation.mail.still import StillLife
from tests.support.journey_faults import Life
from tests.support.simengine import Killed

from overland.agent.policy import SeedPhase
from overland.agent.run import Outcome
from overland.agent.sources import LayeredObjects
from overland.cloud import reclaims
from overland.errors import OverlandError
from overland.ports.objects import Objects
from overland.values import PointId
from overland.vault.marks import MIN_GRACE

__all__ = ["Online"]

_RUN_STEPS: Final = 90
_KEY_STEPS: Final = 60


class Online:
    """Actions of a story."""

    def __init__(
        self,
        programs: Programs,
        proof: Proof,
        doing: Doing,
        chance: random.Random,
        mails: list[Mail],
    ) -> None:
        self.programs, self.proof, self.doing = programs, proof, doing
        self.random, self.mails = chance, mails
        self.policies: list[str] = []

    def begin(self) -> str:
        """Make a policy whose first copy goes over the network."""
        name = f"policy-{len(self.policies)}"
        self.programs.protect(name, None, in_transit="protect")
        self.policies.append(name)
        return self.run(name, "manual")

    def mail_of(self, policy: str) -> Mail | None:
        """Return the seed of a policy."""
        return next((mail for mail in reversed(self.mails) if mail.policy == policy), None)

    # -- runs -----------------------------------------------------------------------------------

    def back_up(self) -> str:
        """Work, and have the schedule run, or run by hand; sometimes without having worked."""
        if not self.policies:
            return "nothing is protected"
        for _ in range(self.random.choice((0, 1, 1, 3, 6))):
            self.programs.source.change()
        trigger: Literal["manual", "schedule"] = (
            "manual" if self.random.random() < 0.2 else "schedule"
        )
        return self.run(self.random.choice(self.policies), trigger)

    def run(
        self, policy: str, trigger: Literal["manual", "schedule"], *, is_calm: bool = False
    ) -> str:
        """Run a policy, and compare what it did with what it may do."""
        mail, proof = self.mail_of(policy), self.proof
        before = len(self.programs.line.sent)
        lacking = proof.lacking(mail) if mail and mail.is_on_its_way else set[str]()
        travelled = mail is not None and mail.is_on_its_way and not mail.harmed

        def ran(life: Life) -> Outcome:
            return self.programs.computer(life).runner().run(policy, trigger=trigger)

        refusals = self._refusals(mail)
        title = f"backup by {trigger}"
        outcome: Outcome | None
        try:
            if is_calm:
                outcome = self.doing.calmly(title, ran, refusals=refusals)
            else:
                outcome = self.doing.badly(title, ran, usual=_RUN_STEPS, refusals=refusals)
        except Refused as refused:
            outcome, said = None, f"refused: {refused.code}"
        else:
            said = "not done" if outcome is None else f"{outcome.result}, {outcome.phase}"
        proof._note()
        self._note_sent(mail, before, trigger, lacking)
        if outcome is None:
            return f"{policy}: {said}"
        if mail is not None:
            self._note_outcome(mail, outcome, trigger, lacking)
        is_known = travelled or (mail is not None and mail.state == "online")
        if outcome.made is not None and mail is not None and is_known:
            again = proof.chunks_of(proof.sent_since(before)) & proof.chunks_of(
                mail.carried - lacking
            )
            assert not again, f"{len(again)} chunks that the seed carries were sent"
        return f"{policy}: {said}"

    @staticmethod
    def _refusals(mail: Mail | None) -> tuple[str, ...]:
        if mail is None:
            return ()
        if mail.state == "abandoned":
            return ("seed-abandoned",)
        if mail.harmed:
            return ("seed-lost", "staging-unusable", "absent")
        return ()

    def _note_sent(self, mail: Mail | None, before: int, trigger: str, lacking: set[str]) -> None:
        """See that nothing that a seed carries was sent over the network, but what is missing."""
        sent = self.proof.sent_since(before)
        for other in self.mails:
            carried = other.carried & set(sent)
            if other is mail and trigger == "manual":
                carried -= lacking
            assert not carried, f"{sorted(carried)} was sent, and travels by drive"

    def _note_outcome(self, mail: Mail, outcome: Outcome, trigger: str, lacking: set[str]) -> None:
        if outcome.result == "incomplete":
            named = {line.split()[1] for line in outcome.messages if line.startswith("  ")}
            assert named == lacking, f"named {sorted(named)}, and {sorted(lacking)} are missing"
            now = self.programs.base.now
            awaited = [
                e.job_name for e in mail.parcels if e.where == "here" or e.is_waited_for(now)
            ]
            assert trigger == "manual" or not awaited, f"{awaited} are waited for"
        if mail.is_on_its_way and outcome.phase is SeedPhase.ONLINE:
            assert not lacking or trigger == "manual", "what is missing is named"
            mail.state = "online"
            lost = mail.digests.keys() - self.proof.in_vault()
            assert not lost, f"adopted without {sorted(lost)}"
        if mail.is_on_its_way and not lacking and mail.has_landed:
            assert outcome.phase is SeedPhase.ONLINE, f"everything has landed, and {outcome}"

    # -- other work of the source computer ------------------------------------------------------

    def lose_hints(self) -> str:
        """Remove what the agent knows of earlier runs; only time may be lost."""
        folder = self.programs.folder / "agent" / "repository"
        if not folder.exists():
            return "nothing"
        shutil.rmtree(folder)
        return "lost"

    def restore(self) -> str:
        """Restore a point over a bad line, from the vault and what is at hand."""
        proof = self.proof
        points = sorted(proof.model.promised)
        if not points:
            return "nothing"
        point_id = self.random.choice(points)
        is_there = proof.model.needed(point_id) <= proof.at_hand()

        def restored(life: Life) -> bool:
            machine = self.programs.computer(life)
            vault: Objects = machine.vault()
            others = [each for each in proof.layers() if each[0] != "vault"]
            proof.compare(point_id, LayeredObjects([("vault", vault), *others]), proof.keys())
            return True

        try:
            done = self.doing.badly("restore", restored, usual=40)
        except OverlandError:
            if is_there:
                raise
            return "not at hand"
        return "restored" if done else "not done"

    def rotate_master(self) -> str:
        """Take a new master key; seeds on their way stay under the old one."""
        try:
            done = self.doing.badly(
                "rotate --master",
                self._rotated_master,
                usual=_KEY_STEPS,
                refusals=("signing-change-under-way",),
            )
        except Refused as refused:
            return f"refused: {refused.code}"
        return "rotated" if done else "not done"

    def _rotated_master(self, life: Life) -> bool:
        self.programs.rotate_master(life)
        return True

    def rotate_signing(self) -> str:
        """Take a new signing key, in the middle of whatever is under way."""
        self.doing.is_token_doubtful = True

        def rotated(life: Life) -> bool:
            self.programs.rotate_signing(life)
            return True

        refusals = ("seed-unannounced",) if any(mail.harmed for mail in self.mails) else ()
        try:
            done = self.doing.badly(
                "rotate --signing", rotated, usual=_KEY_STEPS, refusals=refusals
            )
        except Refused as refused:
            return f"refused: {refused.code}"
        return "rotated" if done else "not done"

    # -- the cloud ------------------------------------------------------------------------------

    def wait(self) -> str:
        """Let days pass; the cloud looks at its clocks."""
        days = self.random.choice((0.3, 2, 6, 11, 15))
        self.programs.base.advance(timedelta(days=days))
        return f"{days} days, {self.programs.cloud.sweep()} jobs changed"

    def restart_cloud(self) -> str:
        self.programs.cloud.live(Life())
        return "restarted"

    def forget(self) -> str:
        """Let a point go, if it may."""
        points = sorted(self.proof.model.promised)
        if not points:
            return "nothing"
        point_id = self.random.choice(points)

        def deleted(life: Life) -> bool:
            self.programs.computer(life).connection().delete_point(point_id)
            return True

        refusals = ("point-stays", "conflict", "point-reclaimed")
        at = self.programs.clocks["cloud"].now()
        self.proof.model.let_go_at.setdefault(point_id, at)
        try:
            done = self.doing.badly("delete", deleted, usual=6, refusals=refusals)
        except Refused as refused:
            del self.proof.model.let_go_at[point_id]
            return f"refused: {refused.code}"
        return f"{point_id} {bool(done)}"

    def reclaim(self) -> str:
        """Have the cloud reclaim what is due, perhaps killed at some step."""
        programs, chance = self.programs, self.random
        programs.base.advance(timedelta(days=1))
        if chance.random() < 0.4:
            programs.cloud.live(StillLife(chance.randrange(60)))
        try:
            begun = reclaims.begin_due(programs.cloud.services)
            said = f"{begun} begun"
        except Killed as killed:
            programs.cloud.restart()
            said = str(killed)
        if programs.cloud.life.is_mortal:
            programs.cloud.live(Life())
        self._note_reclaimed()
        return said

    def _note_reclaimed(self) -> None:
        model, now = self.proof.model, self.programs.clocks["cloud"].now()
        for row in self.proof.rows():
            if row.reclaimed_at is None or row.point_id not in model.promised:
                continue
            let_go_at = model.let_go_at.get(row.point_id)
            assert let_go_at is not None, f"{row.point_id} was reclaimed, and nobody let it go"
            assert now - let_go_at >= MIN_GRACE, f"{row.point_id} was reclaimed too early"
            del model.promised[row.point_id]
            self.proof.let_go.add(PointId(row.point_id))

    # -- the end --------------------------------------------------------------------------------

    def finish(self) -> None:
        """End a change of keys that was begun, and run every policy once more."""
        if self.programs.computer(Life()).home.is_signing_key_changing():
            self.doing.is_token_doubtful = True
            self.doing.calmly("rotate --signing", self.programs.rotate_signing)
        for policy in self.policies:
            self.run(policy, "schedule", is_calm=True)

    def let_time_pass(self) -> None:
        """Let everything go that nobody needs."""
        for _ in range(3):
            self.programs.base.advance(timedelta(days=14, seconds=1))
            self.programs.cloud.sweep()
            reclaims.begin_due(self.programs.cloud.services)
            self._note_reclaimed()
