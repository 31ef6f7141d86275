"""What an offline policy is refused for before a byte is staged, each under its own code."""

from typing import ClassVar

from overland.errors import RefusedError, TransientError

__all__ = [
    "AccountNotInSubscription",
    "AccountWithoutPageBlobs",
    "ClockSkewed",
    "ContainerAbsent",
    "FirstCopyFixed",
    "JobNameElsewhere",
    "JobNameTaken",
    "PointNotMade",
    "PreflightFailed",
    "ScratchTooSmall",
    "SeedTooLarge",
    "SeedingNotAllowed",
    "ServiceAccountAbsent",
    "SourceLocked",
    "SourceOffline",
    "SourceOnNetwork",
    "SourceReadOnly",
    "SourceRemovable",
    "SourceUnfit",
    "StagingNotMounted",
    "StagingNotWritable",
    "StagingPathMalformed",
    "SubscriptionUnknown",
    "SystemStateRefused",
]


class SourceUnfit(RefusedError):
    """A source is of a kind that a first copy by drive is not made of; `kind` names it."""

    code = "source-unfit"
    kind: ClassVar[str]

    def __init__(self, path: str, why: str, *, instead: str) -> None:
        super().__init__(f"{path} {why}; {instead}")
        self.path = path


class SystemStateRefused(SourceUnfit):
    """What the running kernel shows is no file that could be put back."""

    code = "system-state-refused"
    kind = "system-state"

    def __init__(self, path: str, *, file_system: str) -> None:
        super().__init__(
            path,
            f"is system state ({file_system}), which the running system makes up as it is read",
            instead=(
                "leave it out; files of this computer can still be protected, and a protection "
                "group takes the output of commands: `overland group add GROUP --system-state`"
            ),
        )


class SourceRemovable(SourceUnfit):
    """A source lies on a removable medium."""

    code = "source-removable"
    kind = "removable"

    def __init__(self, path: str, *, device: str) -> None:
        super().__init__(
            path,
            f"lies on the removable medium {device}, which may be gone at the next run",
            instead="copy it to a fixed disk, or give --allow-source removable",
        )


class SourceReadOnly(SourceUnfit):
    """A source lies on a volume that is mounted read-only."""

    code = "source-read-only"
    kind = "read-only"

    def __init__(self, path: str, *, mount: str) -> None:
        super().__init__(
            path,
            f"lies on {mount}, which is mounted read-only and does not change",
            instead="name the writable original, or give --allow-source read-only",
        )


class SourceOffline(SourceUnfit):
    """A source is not there now."""

    code = "source-offline"
    kind = "offline"

    def __init__(self, path: str, *, why: str) -> None:
        super().__init__(path, f"is offline: {why}", instead="bring it online and try again")


class SourceOnNetwork(SourceUnfit):
    """A source is a network share."""

    code = "source-on-network"
    kind = "network"

    def __init__(self, path: str, *, share: str, file_system: str) -> None:
        super().__init__(
            path,
            f"lies on the network share {share} ({file_system})",
            instead=(
                "make the computer that has the disks the source computer, "
                "or give --allow-source network"
            ),
        )


class SourceLocked(SourceUnfit):
    """A source is an encrypted volume that nobody has unlocked."""

    code = "source-locked"
    kind = "locked"

    def __init__(self, path: str, *, scheme: str) -> None:
        super().__init__(
            path,
            f"is a locked volume ({scheme}), of which only ciphertext can be read",
            instead="unlock it and name the opened volume, or give --allow-source locked",
        )


class StagingPathMalformed(RefusedError):
    """A remote staging location is not written as one."""

    code = "staging-path-malformed"

    def __init__(self, text: str, *, why: str) -> None:
        super().__init__(
            f"{text!r} is not a staging location: {why}; write \\\\SERVER\\SHARE\\FOLDER, "
            "smb://SERVER/SHARE/FOLDER, nfs://SERVER/EXPORT or the full path of a folder"
        )
        self.text, self.why = text, why


class StagingNotMounted(RefusedError):
    """A remote staging location is well-formed, and this computer has not mounted it."""

    code = "staging-not-mounted"

    def __init__(self, share: str, *, command: str) -> None:
        super().__init__(f"{share} is not mounted on this computer; mount it first: {command}")
        self.share = share


class StagingNotWritable(RefusedError):
    """The staging location is not there, or the service account cannot write to it."""

    code = "staging-not-writable"

    def __init__(self, path: str, *, account: str, problem: str) -> None:
        super().__init__(
            f"the staging location {path} cannot be written by {account}: {problem}; scheduled "
            f"runs are made by {account}: give that account the right to make files there"
        )
        self.path, self.account, self.problem = path, account, problem


class ServiceAccountAbsent(RefusedError):
    """The account that runs are said to be made by does not exist here."""

    code = "service-account-absent"

    def __init__(self, account: str) -> None:
        super().__init__(f"there is no account {account} here; name another --service-account")
        self.account = account


class JobNameTaken(RefusedError):
    """The storage account has an import job of that name already."""

    code = "job-name-taken"

    def __init__(self, name: str, *, problem: str) -> None:
        super().__init__(f"import job name {name}: {problem}; choose another name")
        self.name = name


class JobNameElsewhere(RefusedError):
    """Another policy of this computer has the job name with another storage account."""

    code = "job-name-elsewhere"

    def __init__(self, name: str, *, policy: str, storage_account: str) -> None:
        super().__init__(
            f"import job name {name} goes to storage account {storage_account} in policy "
            f"{policy}; one job name has one account: give {storage_account}, or another name"
        )
        self.name, self.policy, self.storage_account = name, policy, storage_account


class SubscriptionUnknown(RefusedError):
    """The tenant has no such subscription."""

    code = "subscription-unknown"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            f"subscription {subscription_id} is none of this tenant; "
            "take the id from the publish settings file"
        )
        self.subscription_id = subscription_id


class SeedingNotAllowed(RefusedError):
    """The subscription has not got the capability to seed by drive."""

    code = "seeding-not-allowed"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            f"subscription {subscription_id} is not allowed to seed by drive; ask the provider, "
            "or make the first copy over the network with --online"
        )
        self.subscription_id = subscription_id


class AccountNotInSubscription(RefusedError):
    """The subscription does not hold the storage account."""

    code = "account-not-in-subscription"

    def __init__(self, account: str, *, subscription_id: str) -> None:
        super().__init__(
            f"subscription {subscription_id} has no storage account {account}; make it there, "
            "or give the subscription that holds it"
        )
        self.account = account


class AccountWithoutPageBlobs(RefusedError):
    """The storage account is of a kind that drives cannot be imported to."""

    code = "account-without-page-blobs"

    def __init__(self, account: str, *, kind: str) -> None:
        super().__init__(
            f"storage account {account} is of kind {kind}, which holds no page blobs; "
            "use one of kind StorageV2 or Storage"
        )
        self.account, self.kind = account, kind


class ContainerAbsent(RefusedError):
    """The storage account has no such container."""

    code = "container-absent"

    def __init__(self, container: str, *, account: str) -> None:
        super().__init__(
            f"storage account {account} has no container {container}; make a new one with "
            f"`overland cloud container create {container} --storage-account {account}`"
        )
        self.container = container


class ClockSkewed(RefusedError):
    """The clocks of this computer and of the cloud are too far apart to sign in."""

    code = "clock-skewed"

    def __init__(self, skew_s: float) -> None:
        way = "ahead of" if skew_s > 0 else "behind"
        super().__init__(
            f"this computer's clock is {abs(skew_s):.0f} s {way} the cloud's; set the clock, "
            "or let it be set from the network"
        )
        self.skew_s = skew_s


class ScratchTooSmall(RefusedError):
    """The disk of the agent's home folder has too little room for the cache."""

    code = "scratch-too-small"

    def __init__(self, path: str, *, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"{path} has {free_bytes} bytes free, and the cache may need {needed_bytes} "
            "(5 % of the data); free some space before the seed begins"
        )
        self.free_bytes, self.needed_bytes = free_bytes, needed_bytes


class SeedTooLarge(RefusedError):
    """One import job does not take as many drives as the estimate needs."""

    code = "seed-too-large"

    def __init__(self, needed: int, *, limit: int, drive_bytes: int) -> None:
        super().__init__(
            f"the sources may need {needed} drives of {drive_bytes} bytes and one import job "
            f"takes {limit}; use larger drives (--drive-size), or make two policies"
        )
        self.needed, self.limit = needed, limit


class PreflightFailed(RefusedError):
    """Some checks of the preflight failed; `checks` names them."""

    code = "preflight-failed"

    def __init__(self, checks: tuple[str, ...]) -> None:
        super().__init__(
            f"preflight failed: {', '.join(checks)}; nothing was saved: do what the table says, "
            "or leave a check out with --skip-check NAME"
        )
        self.checks = checks


class FirstCopyFixed(RefusedError):
    """How the first copy of a policy travels was settled when it was saved."""

    code = "first-copy-fixed"

    def __init__(self, policy: str, *, method: str) -> None:
        super().__init__(
            f"the first copy of {policy!r} travels {method}, which cannot be changed; to begin "
            f"anew: `overland seed abandon {policy}` if a seed is open, "
            f"`overland policy delete {policy}`, and `overland policy create`; "
            "recovery points in the vault stay"
        )
        self.policy, self.method = policy, method


class PointNotMade(TransientError):
    """The group has no recovery point yet that its sources could be compared with."""

    code = "point-not-made"

    def __init__(self, group: str) -> None:
        super().__init__(
            f"{group!r} has no recovery point to compare its members with; run "
            f"`overland group create-recovery-point {group} --online` first"
        )
        self.group = group
