"""The room's errors.

OncallError
|- ProviderError         a provider did not do what it was asked
|  |- ProviderRefused    it answered no (4xx): this request will not pass, another provider may
|  |- ProviderBroken     it answered 5xx or could not be reached: nothing was placed
|  `- ProviderUnknown    the request left and no answer came: it may have been placed
|- PinRefused            a PIN cannot be issued or revoked; the message says why and what to do
`- SettingsFault         settings that cannot work; the message names the field
"""


class OncallError(Exception):
    """Base of this room's errors."""


class ProviderError(OncallError):
    """A provider did not do what it was asked; ``code`` is its own error number, if it gave one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ProviderRefused(ProviderError):
    """The provider answered no: nothing was placed."""


class ProviderBroken(ProviderError):
    """The provider answered 5xx or was out of reach: nothing was placed, as far as it says."""


class ProviderUnknown(ProviderError):
    """The request was sent, the answer never came: a call may have been placed."""


class PinRefused(OncallError):
    """A PIN cannot be issued, replaced or revoked."""


class SettingsFault(OncallError):
    """Settings that cannot work."""
