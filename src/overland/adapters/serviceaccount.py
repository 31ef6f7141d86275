"""Whether an account can write to a folder, found out by doing it."""

import os
import pwd
import subprocess
from typing import Final

__all__ = ["AccountUnknown", "own_account", "write_problem"]

_PATIENCE_S: Final = 30.0  # a share whose server is gone would not answer for minutes
_PROBE: Final = 'f="$1/.overland-preflight-$$"; : > "$f" && rm -f -- "$f"'


class AccountUnknown(LookupError):
    """The system has no such account."""


def own_account() -> str:
    """Return the account that this process runs as."""
    return pwd.getpwuid(os.geteuid()).pw_name


def write_problem(folder: str, *, account: str) -> str | None:
    """Return why `account` cannot make a file in `folder`, or None if it can.

    The file that is made is removed again.  Another account than one's own can only be tried by
    root; without that right the answer says so.

    Raises:
        AccountUnknown: There is no such account.
    """
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise AccountUnknown(account) from None
    is_own = entry.pw_uid == os.geteuid()
    if not is_own and os.geteuid() != 0:
        return "only root can try it for another account; run this with sudo"
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _PROBE, "sh", folder],
            user=None if is_own else entry.pw_uid,
            group=None if is_own else entry.pw_gid,
            extra_groups=None if is_own else os.getgrouplist(account, entry.pw_gid),
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {_PATIENCE_S:.0f} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it failed"]
    return lines[-1].rpartition(": ")[2]
