"""What the source computer refuses to do, each under its own code."""

from overland.errors import IntegrityError, NotAuthorised, RefusedError, TransientError

__all__ = [
    "AdoptionFailed",
    "ComputerHasKeys",
    "ComputerNameInvalid",
    "MasterKeyDamaged",
    "OtherVault",
    "PointNotWhole",
    "PolicyAbsent",
    "PolicyExists",
    "SeedAbandoned",
    "SeedAbsent",
    "SeedLost",
    "SeedStillNeeded",
    "SeedUnderWay",
    "SeedUnknown",
    "SigningChangeUnderWay",
    "VaultCredentialsExpired",
    "VaultCredentialsInvalid",
]


class ComputerHasKeys(RefusedError):
    """New keys would cut this computer off from its backups."""

    code = "computer-has-keys"

    def __init__(self, repository_id: str) -> None:
        super().__init__(
            f"this computer already has keys, for repository {repository_id}; making new ones "
            "would cut it off from its backups; see `overland agent status`"
        )
        self.repository_id = repository_id


class ComputerNameInvalid(RefusedError):
    """A computer's name breaks its rule."""

    code = "computer-name-invalid"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no computer name: 1-64 letters, digits, '.', '-' or '_'; "
            "give another with --name"
        )
        self.name = name


class MasterKeyDamaged(IntegrityError):
    """The stored master key has a wrong length."""

    code = "master-key-damaged"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} in the agent's home folder is damaged; points can still be restored with the "
            "passphrase or the recovery kit, in another home folder"
        )


class OtherVault(RefusedError):
    """A registered computer was told to register elsewhere."""

    code = "other-vault"

    def __init__(self, vault: str) -> None:
        super().__init__(
            f"this computer is registered with vault {vault!r}; its open seeds would be orphaned "
            "in another one; use another home folder for another vault"
        )
        self.vault = vault


class VaultCredentialsInvalid(RefusedError):
    """A file is no vault credentials file."""

    code = "vault-credentials-invalid"

    def __init__(self) -> None:
        super().__init__(
            "this is no vault credentials file; get one with `overland cloud vault-credentials`"
        )


class SigningChangeUnderWay(RefusedError):
    """A change of the signing key was begun, and the cloud has not entered it yet."""

    code = "signing-change-under-way"

    def __init__(self) -> None:
        super().__init__(
            "the signing key is being replaced, with the master key, the passphrase and the "
            "recovery kit; nothing was changed: finish that first, with `overland keys rotate "
            "--signing --vault-credentials FILE`"
        )


class VaultCredentialsExpired(NotAuthorised):
    """The ten days of a vault credentials file are over."""

    code = "vault-credentials-expired"

    def __init__(self, expires_at: str) -> None:
        super().__init__(
            f"these vault credentials expired at {expires_at}; they are valid for ten days: "
            "get new ones with `overland cloud vault-credentials`"
        )


class PolicyAbsent(RefusedError):
    """There is no policy of that name on this computer."""

    code = "policy-absent"

    def __init__(self, name: str, *, known: list[str]) -> None:
        names = ", ".join(known) or "none yet; make one with `overland policy create`"
        super().__init__(f"there is no policy {name!r}; policies: {names}")
        self.name = name


class PolicyExists(RefusedError):
    """A policy of that name exists; how its first copy travels cannot be changed."""

    code = "policy-exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is already a policy {name!r}; the first-copy method of a policy cannot be "
            "changed: delete it, or choose another name"
        )
        self.name = name


class SeedAbsent(RefusedError):
    """The policy has no seed yet."""

    code = "seed-absent"

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"policy {policy!r} has no seed; the first `overland backup now {policy}` of an "
            "offline policy makes it"
        )
        self.policy = policy


class SeedUnknown(RefusedError):
    """The cloud has no record of the seed that a policy waits for: not the same as waiting."""

    code = "seed-unknown"

    def __init__(self, policy: str, seed_id: str) -> None:
        super().__init__(
            f"policy {policy!r} waits for seed {seed_id}, which the cloud does not know; "
            f"ask the provider whether it lost the record, or run `overland seed abandon {policy}`"
        )
        self.policy, self.seed_id = policy, seed_id


class SeedUnderWay(RefusedError):
    """A policy stays, and its items and times as they are, while its seed travels."""

    code = "seed-under-way"

    def __init__(self, policy: str, phase: str) -> None:
        super().__init__(
            f"the seed of {policy!r} is under way ({phase}); its items and times can be changed, "
            "and it can be deleted, once it is Online, or after `overland seed abandon`"
        )
        self.policy, self.phase = policy, phase


class SeedAbandoned(RefusedError):
    """The policy's seed was given up; it runs no more."""

    code = "seed-abandoned"

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"the seed of policy {policy!r} was abandoned; delete the policy and make a new one"
        )
        self.policy = policy


class SeedLost(RefusedError):
    """An object of the seed reached neither the vault, nor is it whole in the staging location."""

    code = "seed-lost"

    def __init__(self, policy: str, name: str) -> None:
        super().__init__(
            f"{name} reached neither the vault, nor is it whole in the staging location any more; "
            f"run `overland seed abandon {policy}` and make a new policy, with --online if the "
            "line can carry the first copy"
        )
        self.policy, self.name = policy, name


class PointNotWhole(TransientError):
    """Objects went from the vault while a point was made, again and again."""

    code = "point-not-whole"

    def __init__(self, policy: str, point_id: str) -> None:
        super().__init__(
            f"recovery point {point_id} lacks objects that went from the vault while it was made; "
            f"run `overland backup now {policy}` again, and `overland check` if it stays"
        )
        self.policy, self.point_id = policy, point_id


class AdoptionFailed(TransientError):
    """The vault could not finish an adoption; nothing of it is lost."""

    code = "adoption-failed"

    def __init__(self, policy: str, problem: str) -> None:
        super().__init__(
            f"the vault could not finish the adoption: {problem}; "
            f"run `overland backup now {policy}` to try again"
        )
        self.policy = policy


class SeedStillNeeded(RefusedError):
    """What is left of a seed is asked to be deleted while it is the only whole copy."""

    code = "seed-still-needed"

    def __init__(self, policy: str, phase: str) -> None:
        super().__init__(
            f"the seed of {policy} is {phase}: until the vault has it, staging location and "
            "container are needed; give it up with `overland seed abandon` first, or wait"
        )
