"""What goes wrong with an application's identity on the source computer."""

from overland.errors import NotAuthorised, RefusedError

__all__ = [
    "ApplicationExists",
    "CertificateExpired",
    "CertificateNotAccepted",
    "CertificateNotHere",
    "CertificateNotUploaded",
    "IdentityFileAbsent",
    "IdentityFileInvalid",
    "SettingFixed",
    "SettingInvalid",
    "SettingUnknown",
    "StrangerToHome",
    "ThumbprintMissing",
    "UserUnclear",
]


class SettingUnknown(RefusedError):
    """No setting has this name."""

    code = "setting-unknown"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no setting {name!r}; `overland agent config list` shows those there are"
        )
        self.name = name


class SettingInvalid(RefusedError):
    """A value breaks its setting's rule."""

    code = "setting-invalid"

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name}: give {rule}")
        self.name = name


class SettingFixed(RefusedError):
    """A setting tells what is so, and is changed by other means."""

    code = "setting-fixed"

    def __init__(self, name: str, *, instead: str) -> None:
        super().__init__(f"{name} tells what is so, and cannot be set to something else; {instead}")
        self.name = name


class IdentityFileAbsent(RefusedError):
    """A storage account has no identity file on this computer."""

    code = "identity-file-absent"

    def __init__(self, account: str) -> None:
        super().__init__(
            f"there is no OfflineApplicationParams_{account}.xml on this computer; run "
            f"`overland cert enroll --params FILE --storage-account {account}`"
        )
        self.account = account


class IdentityFileInvalid(RefusedError):
    """A file is no identity file, or not one for this computer."""

    code = "identity-file-invalid"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the OfflineApplicationParams file cannot be used: {why}; make it again with "
            "`overland cert create-application`"
        )
        self.why = why


class ApplicationExists(RefusedError):
    """The application was there already, and was left as it is."""

    code = "application-exists"

    def __init__(self, name: str, *, has_certificates: bool, params: str) -> None:
        ways = (
            "it has certificates of other computers, which stay: on the source computer run "
            f"`overland cert enroll --params {params}`; where that may not upload, "
            "`overland cert export FILE.cer`, and have FILE.cer uploaded by "
            f"`overland cloud application add-certificate {name} FILE.cer`"
            if has_certificates
            else f"it has no certificate: delete it with `overland cloud application delete {name}`"
            " and run this again, or upload a certificate to it"
        )
        super().__init__(f"the application {name} exists and was not changed; {ways}")
        self.name, self.has_certificates = name, has_certificates


class UserUnclear(RefusedError):
    """The token that was shown is no person's, so that an application cannot be named after one."""

    code = "user-unclear"

    def __init__(self) -> None:
        super().__init__(
            "this token belongs to no person or service account; run `overland sign-in`, or name "
            "who answers for the application with --user-id"
        )


class CertificateNotUploaded(RefusedError):
    """The computer's certificate could not be entered for the application from here."""

    code = "certificate-not-uploaded"

    def __init__(self, why: str, *, application: str, file: str, computer_id: str) -> None:
        super().__init__(
            f"the certificate was made and could not be uploaded ({why}); have a tenant's owner "
            f"upload {file}: `overland cloud application add-certificate {application} FILE.cer "
            f"--source-computer {computer_id}`, then run `overland cert upload`; if the "
            "application has no certificate, it may also be deleted and made anew"
        )
        self.file = file


class ThumbprintMissing(NotAuthorised):
    """No setting says which certificate signs this computer in."""

    code = "thumbprint-missing"

    def __init__(self, setting: str, *, known: str | None) -> None:
        value = known or "THUMBPRINT"
        super().__init__(
            f"the application cannot sign in: the setting {setting} is missing; run `overland cert "
            f"upload`, or after an upload by hand `overland agent config set {setting} {value}`"
        )
        self.setting = setting


class CertificateNotHere(NotAuthorised):
    """This computer does not hold the key of the certificate that a setting names."""

    code = "certificate-not-here"

    def __init__(self, thumbprint: str) -> None:
        super().__init__(
            f"the application cannot sign in: the key of certificate {thumbprint} is not on this "
            "computer; run `overland cert renew`, or name one of `overland cert status`"
        )
        self.thumbprint = thumbprint


class CertificateExpired(NotAuthorised):
    """The days on which the computer's certificate is good are over."""

    code = "certificate-expired"

    def __init__(self, thumbprint: str, *, ended: str) -> None:
        super().__init__(
            f"the application cannot sign in: certificate {thumbprint} expired at {ended}; "
            "run `overland cert renew`"
        )
        self.thumbprint = thumbprint


class CertificateNotAccepted(NotAuthorised):
    """The cloud does not take the computer's certificate."""

    code = "certificate-not-accepted"

    def __init__(self, thumbprint: str, *, said: str) -> None:
        super().__init__(
            f"the cloud does not sign certificate {thumbprint} in: {said}; if it was removed, or "
            "never uploaded, run `overland cert upload`"
        )
        self.thumbprint, self.said = thumbprint, said


class StrangerToHome(RefusedError):
    """Somebody else's home folder: only the account that backups run as makes identities in it."""

    code = "not-the-administrator"

    def __init__(self, folder: str, *, owner: str) -> None:
        super().__init__(
            f"{folder} belongs to {owner}; run this as {owner}, the account that backups run as: "
            "the certificate's key has to be readable by it and by nobody else"
        )
        self.folder = folder
