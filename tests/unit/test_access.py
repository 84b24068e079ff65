"""Which connections to the database others may read, or end at somebody else's; both packages judge alike."""

from collections.abc import Callable

import pytest

import listener.access
import loader.access


@pytest.mark.parametrize("exposed", [loader.access.exposed, listener.access.exposed], ids=["loader", "listener"])
@pytest.mark.parametrize(
    ("address", "is_exposed"),
    [
        ("", False),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("128.0.0.1", True),
        ("10.0.0.1", True),
        ("192.168.1.1", True),
        ("2001:db8::1", True),
        ("::ffff:10.0.0.1", True),
        ("fe80::1%eth0", True),
    ],
)
@pytest.mark.parametrize("sslmode", [None, "disable", "prefer", "require", "verify-ca", "verify-full"])
def test_what_is_exposed(exposed: Callable[[str, str | None], bool], address: str, is_exposed: bool, sslmode: str | None) -> None:
    assert exposed(address, sslmode) is (is_exposed and sslmode != "verify-full")


def test_both_say_the_same() -> None:
    assert loader.access.WARNING == listener.access.WARNING
