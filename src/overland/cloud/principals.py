"""From the claims of an access token to whom it stands for now."""

from datetime import datetime

from sqlalchemy import Connection

from overland.cloud import applicationtokens, roles
from overland.cloud.accesstokens import AccessClaims
from overland.cloud.identity import Principal

__all__ = ["principal_of"]


def principal_of(connection: Connection, claims: AccessClaims, *, at: datetime) -> Principal:
    """Return whom a token that verified stands for, as roles and certificates are now.

    Raises:
        TokenInvalid: The subject is gone, or may not come in any more.
    """
    if claims.subject_kind == "user":
        return roles.user_principal(connection, claims, at=at)
    return applicationtokens.application_principal(connection, claims, at=at)
