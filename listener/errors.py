"""What can go wrong for a user of the listener: each one sentence that says what happened, what it means and what to do."""

# ruff: noqa: N818 - their base says what they are


class ListenerError(Exception):
    """The listener stopped; what was not delivered stays, and the same command goes on from there."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class BadURL(ListenerError):
    """The webhook's URL names no host by http:// or https://, so nothing can be posted to it: mend it."""


class BadEnvironment(ListenerError):
    """A proxy or certificates in the environment are unusable: mend HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE."""


class BadSecret(ListenerError):
    """A webhook secret is not whsec_ and 24 to 64 bytes in base64, so no receiver could verify with it: copy it once more."""
