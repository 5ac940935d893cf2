"""Which IP addresses are public, so that a request on behalf of a caller may go there.

The special-purpose registries of IANA (RFC 6890 and its updates) are written out here, since `is_global` of `ipaddress`
differs between patch releases of Python, and does not know the forms in which IPv6 carries an IPv4 address.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and metadata services (100.100.100.200)
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: a public number that never leaves the host
        "169.254.0.0/16",  # link-local, and metadata services (169.254.169.254)
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and metadata services (192.0.0.192)
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# All IPv6 addresses that are assigned to the internet. Outside lie ::1, fc00::/7, fe80::/10, fec0::/10 and ff00::/8.
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3ffe::/16",
        "3fff::/20",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")  # how an IPv6-only host reaches IPv4
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))  # the interface ids that carry an IPv4 address


def is_public(text: str) -> bool:
    """Return whether a text is an IP address of the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _MAPPED or address in _NAT64:
        return is_public(str(IPv4Address(int(address) & 0xFFFF_FFFF)))
    return _is_public_6(address)


def _is_public_6(address: IPv6Address) -> bool:
    return (
        address in _GLOBAL_UNICAST_6
        and not any(address in network for network in _NOT_PUBLIC_6)
        and (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
    )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address never leaves this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
