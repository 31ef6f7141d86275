"""The bodies of requests about people, roles and sign-ins; unknown fields are refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AccountTokenBody",
    "AssignmentBody",
    "CodeBody",
    "RulesBody",
    "TotpEndBody",
    "UserBody",
    "UserPatchBody",
]

Short = Annotated[str, Field(max_length=128)]
Password = Annotated[str, Field(max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserBody(_Body):
    """A person or a service account to make."""

    name: Short
    kind: Literal["person", "service"] = "person"
    role: Short | None = None
    subscription_id: Short | None = None
    resource_group: Short | None = None


class UserPatchBody(_Body):
    """Whether a user is stopped, and whether what they made for machines stays good."""

    disabled: bool
    keep_tokens: bool = False


class AccountTokenBody(_Body):
    """How long a service account's token is good."""

    expires_in_days: int


class AssignmentBody(_Body):
    """A role to assign; the user is named by name or id."""

    user: Short
    role: Short
    subscription_id: Short | None = None
    resource_group: Short | None = None
    tenant_id: Short | None = None


class RulesBody(_Body):
    """What the tenant demands of its people."""

    totp_required: bool


class CodeBody(_Body):
    """A code of an authenticator app."""

    code: Short


class TotpEndBody(_Body):
    """What turns the second factor off: the password, and a code of it or a recovery code."""

    password: Password
    code: Short
