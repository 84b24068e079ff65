"""Whether others may read what goes to the database, or pose as it. Pure: no socket; the address is passed in.

The loader has its own of the same: the two packages share no code.
"""

from ipaddress import ip_address

WARNING = (
    "The connection to the database leaves the machine without sslmode=verify-full, so others may read it or pose as the server: "
    "set PGSSLMODE=verify-full, and PGSSLROOTCERT to the certificate of the authority that signed the server's."
)


def exposed(address: str, sslmode: str | None) -> bool:
    """Whether a connection to an address, which a Unix socket has none of, leaves this machine and may end at anybody's."""
    return bool(address) and sslmode != "verify-full" and not loopback(address)


def loopback(address: str) -> bool:
    """Whether an address, also a version 4 one as version 6 writes it, is this machine's own."""
    found = ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
