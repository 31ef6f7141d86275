"""What answers look like, for the OpenAPI document.

Answers are made by `overland.server.views` and are not passed through these classes; that both
agree is tested by requests made from the document (`tests/clients`).  Members that are missing
from an answer are left out, never null.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from overland.jobs.states import DriveState, JobState

__all__ = [
    "FAILURES",
    "FORM_FAILURES",
    "MADE",
    "SIGNED",
    "BitLockerKeys",
    "ErrorResponse",
    "Job",
    "JobPage",
    "Location",
    "LocationPage",
    "OperationPage",
    "Responses",
    "SignedDocument",
]

Percent = Annotated[int, Field(ge=0, le=100)]
_ShownState = Annotated[
    str, Field(json_schema_extra={"enum": [s for s in JobState if s is not JobState.DELETED]})
]
_DriveState = Annotated[str, Field(json_schema_extra={"enum": list(DriveState)})]
_Members = dict[str, Any]  # Any: what the customer sent, in the request body's own shape


class SignedDocument(Response):
    """A signed document; its bytes are what is signed, so nothing is made of them."""

    media_type = "application/octet-stream"


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class ErrorDetail(_Document):
    """One part of what was wrong."""

    code: str
    target: str = ""
    message: str


class ErrorBody(_Document):
    """What was wrong, and what to do."""

    code: str
    message: str
    target: str = ""
    details: list[ErrorDetail] = []


class ErrorResponse(_Document):
    """Every answer that is not a success."""

    error: ErrorBody


class OAuthError(_Document):
    """What the token endpoint and its neighbours answer instead (RFC 6749 §5.2)."""

    error: str
    error_description: Annotated[str, Field(alias="error_description")] = ""


Responses = dict[int | str, dict[str, Any]]  # Any: FastAPI's own type

MADE: Final[Responses] = {201: {"description": "Made; 200 says that it was there already."}}
FAILURES: Final[Responses] = {
    "4XX": {"model": ErrorResponse, "description": "Refused; docs/reference/errors.md."},
    "5XX": {"model": ErrorResponse, "description": "Not now, or a defect of ours."},
}
_ERRORS = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
SIGNED: Final[Responses] = {
    200: {
        "description": "The document, byte for byte.",
        "content": {"application/octet-stream": {}},
    },
    # As FAILURES, whose models would take this route's content type.
    "4XX": {"description": FAILURES["4XX"]["description"], "content": _ERRORS},
    "5XX": {"description": FAILURES["5XX"]["description"], "content": _ERRORS},
}
FORM_FAILURES: Final[Responses] = {"4XX": {"model": OAuthError, "description": "Refused."}}


class DriveStatus(_Document):
    """A drive of a job; the unlock key has a request of its own."""

    drive_id: str
    manifest_file: str = ""
    manifest_hash: str = ""
    drive_header_hash: str = ""
    state: _DriveState
    copy_status: str = ""
    percent_complete: Percent = 0
    verbose_log_uri: str = ""
    error_log_uri: str = ""
    manifest_uri: str = ""
    bytes_succeeded: Annotated[int, Field(ge=0)] = 0


class EncryptionKey(_Document):
    """What protects the unlock keys at the service."""

    kek_type: Literal["MicrosoftManaged"]


class JobDetails(_Document):
    """What a job is for, where it is, and its drives."""

    storage_account_id: str
    job_type: Literal["Import", "Export"]
    return_address: _Members = {}
    return_shipping: _Members = {}
    shipping_information: _Members = {}
    delivery_package: _Members = {}
    return_package: _Members = {}
    diagnostics_path: str
    log_level: Literal["Error", "Verbose"]
    backup_drive_manifest: bool
    cancel_requested: bool
    state: _ShownState
    percent_complete: Percent = 0
    incomplete_blob_list_uri: str = ""
    export: _Members = {}
    drive_list: list[DriveStatus] = []
    provisioning_state: Literal["Succeeded"]
    encryption_key: EncryptionKey


class Identity(_Document):
    """The job's identity; there is none."""

    type: Literal["None"]


class SystemData(_Document):
    """When the job was made and changed."""

    created_at: str
    last_modified_at: str


class Job(_Document):
    """An import or export job."""

    id: str
    name: str
    type: Literal["Microsoft.ImportExport/jobs"]
    location: str
    tags: dict[str, str] = {}
    properties: JobDetails
    identity: Identity
    system_data: Annotated[
        SystemData,
        Field(
            default_factory=SystemData.model_construct,  # so that it may be missing
            description="Not in answers to api-version 2016-11-01.",
        ),
    ]


class JobPage(_Document):
    """A page of jobs; `nextLink` leads to the next one, and the last has none."""

    value: list[Job]
    next_link: str = ""


class BitLockerKey(_Document):
    """The key that opens one drive."""

    drive_id: str
    bit_locker_key: str


class BitLockerKeys(_Document):
    """The keys of a job's drives; there is one page."""

    value: list[BitLockerKey]


class LocationDetails(_Document):
    """Where parcels for a region go, and who may carry them."""

    recipient_name: str
    street_address1: str
    street_address2: str
    city: str
    state_or_province: str
    postal_code: str
    country_or_region: str
    phone: str = ""
    supported_carriers: list[str]
    alternate_locations: list[str]


class Location(_Document):
    """A region."""

    id: str
    name: str
    type: Literal["Microsoft.ImportExport/locations"]
    properties: LocationDetails


class LocationPage(_Document):
    """Every region; there is one page."""

    value: list[Location]


class OperationDisplay(_Document):
    """An operation in words."""

    provider: str
    resource: str
    operation: str
    description: str


class Operation(_Document):
    """One thing that the provider can do."""

    name: str
    display: OperationDisplay


class OperationPage(_Document):
    """Everything that the provider can do; there is one page."""

    value: list[Operation]
