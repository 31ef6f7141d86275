"""Applications, their certificates and owners; the issuer's keys (`/v1`)."""

import base64
import binascii
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from overland.cloud import applications, applicationtokens, audit, signingkeys
from overland.cloud.applications import Application, Enrolled
from overland.cloud.assertions import MAX_ASSERTION_CHARS
from overland.cloud.certificatefiles import MAX_CERTIFICATE_BYTES
from overland.cloud.identity import Permission
from overland.cloud.refusals import Invalid
from overland.cloud.services import Call
from overland.server.answers import MADE
from overland.server.caller import Caller, Needs
from overland.server.views import Json, instant

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["Applications"])

_ALL: Final = "/tenants/{tenant_id}/applications"
_ONE: Final = _ALL + "/{application_id}"
_CERTIFICATES: Final = _ONE + "/certificates"

Manager = Annotated[Caller, Depends(Needs(Permission.MANAGE_APPLICATIONS))]
Claimant = Annotated[Caller, Depends(Needs(Permission.CLAIM_CERTIFICATES))]
KeyRotator = Annotated[Caller, Depends(Needs(Permission.ROTATE_KEYS))]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ApplicationBody(_Body):
    """A new application."""

    name: Annotated[str, Field(max_length=256)]


class CertificateBody(_Body):
    """A certificate: PEM, or DER in base64; and the computer that it speaks for, if known."""

    certificate: Annotated[str, Field(max_length=2 * MAX_CERTIFICATE_BYTES)]
    source_computer_id: Annotated[str, Field(max_length=64)] | None = None


class ClaimBody(_Body):
    """The assertion of the certificate that a source computer claims."""

    client_assertion: Annotated[str, Field(max_length=MAX_ASSERTION_CHARS)]


class RotationBody(_Body):
    """Whether tokens of the keys before end now, because a key was seen by a stranger."""

    end_tokens: bool = False


@router.post(_ALL, responses=MADE)
def create_application(
    tenant_id: str, body: ApplicationBody, response: Response, caller: Manager
) -> Json:
    """Make an application (201), or find the one of this name (200)."""
    with caller.call() as call:
        found, is_new = applications.create(call, tenant_id, body.name)
        response.status_code = 201 if is_new else 200
        return _view(call, found) | {"is_new": is_new}


@router.get(_ALL)
def list_applications(
    tenant_id: str,
    caller: Manager,
    name: Annotated[str | None, Query(max_length=256)] = None,
    owner: Annotated[str | None, Query(max_length=64)] = None,
) -> list[Json]:
    """Return the tenant's applications: all, the one so called, or those of one owner."""
    with caller.call() as call:
        found = applications.list_applications(call, tenant_id, name=name, owner=owner)
        return [_view(call, each) for each in found]


@router.get(_ONE)
def get_application(tenant_id: str, application_id: str, caller: Manager) -> Json:
    """Return an application with its certificates and owners."""
    with caller.call() as call:
        return _view(call, applications.get(call, tenant_id, application_id))


@router.delete(_ONE, status_code=204)
def delete_application(tenant_id: str, application_id: str, caller: Manager) -> Response:
    """Remove an application; its tokens open nothing from now on."""
    with caller.call() as call:
        applications.delete_application(call, tenant_id, application_id)
    return Response(status_code=204)


@router.put(_ONE + "/owners/{user_id}", status_code=204)
def add_owner(tenant_id: str, application_id: str, user_id: str, caller: Manager) -> Response:
    """Enter a user as one who answers for the application."""
    with caller.call() as call:
        applications.add_owner(call, tenant_id, application_id, user_id)
    return Response(status_code=204)


@router.delete(_ONE + "/owners/{user_id}", status_code=204)
def remove_owner(tenant_id: str, application_id: str, user_id: str, caller: Manager) -> Response:
    """Remove an owner."""
    with caller.call() as call:
        applications.remove_owner(call, tenant_id, application_id, user_id)
    return Response(status_code=204)


@router.post(_CERTIFICATES, responses=MADE)
def add_certificate(
    tenant_id: str,
    application_id: str,
    body: CertificateBody,
    response: Response,
    caller: Manager,
) -> Json:
    """Enter a certificate beside those that are there (201), or find it (200)."""
    with caller.call() as call:
        enrolled, is_new = applications.add_certificate(
            call,
            tenant_id,
            application_id,
            content=_content(body.certificate),
            source_computer_id=body.source_computer_id,
        )
        response.status_code = 201 if is_new else 200
        return _certificate(call, enrolled) | {"is_new": is_new}


@router.get(_CERTIFICATES)
def list_certificates(tenant_id: str, application_id: str, caller: Manager) -> list[Json]:
    """Return an application's certificates, first added first."""
    with caller.call() as call:
        found = applications.get(call, tenant_id, application_id)
        known = applications.find_certificates(call.connection, found.application_id)
        return [_certificate(call, each) for each in known]


@router.delete(_CERTIFICATES + "/{thumbprint}", status_code=204)
def remove_certificate(
    tenant_id: str, application_id: str, thumbprint: str, caller: Manager
) -> Response:
    """Remove the certificate of this SHA-256 or SHA-1 thumbprint; its tokens end now."""
    with caller.call() as call:
        applications.remove_certificate(call, tenant_id, application_id, thumbprint)
    return Response(status_code=204)


@router.post(_ONE + "/claims")
def claim_certificate(
    tenant_id: str, application_id: str, body: ClaimBody, caller: Claimant
) -> Json:
    """Let a certificate that was entered by hand speak for the source computer that asks."""
    with caller.call() as call:
        enrolled = applicationtokens.claim_certificate(
            call, tenant_id, application_id, body.client_assertion
        )
        return _certificate(call, enrolled)


@router.post("/signing-keys", status_code=201)
def rotate_keys(caller: KeyRotator, body: RotationBody | None = None) -> Json:
    """Sign with a new key from now on; `end_tokens` ends those of the keys before, too."""
    with caller.call() as call:
        if body is not None and body.end_tokens:
            signingkeys.forget_all(call.connection)
            audit.note(call, "access-tokens.ended")
        key = signingkeys.rotate(
            call.connection,
            at=call.at,
            random=call.services.random,
            table_key=call.services.table_key,
        )
        audit.note(call, "signing-key.rotated", target=key.key_id)
    return {"key_id": key.key_id, "created_at": instant(key.created_at)}


def _content(text: str) -> bytes:
    """Return the certificate's file: what is not PEM is base64."""
    if "-----BEGIN" in text:
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("certificate", "send PEM, or DER in base64") from None


def _view(call: Call, application: Application) -> Json:
    known = applications.find_certificates(call.connection, application.application_id)
    return {
        "application_id": application.application_id,
        "client_id": application.application_id,
        "tenant_id": application.tenant_id,
        "name": application.name,
        "created_by": application.created_by,
        "created_at": instant(application.created_at),
        "owners": applications.owners(call, application),
        "certificates": [_certificate(call, each) for each in known],
    }


def _certificate(call: Call, enrolled: Enrolled) -> Json:
    certificate = enrolled.certificate
    return {
        "thumbprint": certificate.sha1.upper(),
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "not_before": instant(certificate.not_before),
        "not_after": instant(certificate.not_after),
        "expired": call.at >= certificate.not_after,
        "source_computer_id": enrolled.source_computer_id,
        "added_by": enrolled.added_by,
        "added_at": instant(enrolled.added_at),
    }
