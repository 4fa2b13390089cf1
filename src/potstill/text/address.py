"""Where a server is: its host, and whether that is the user's own network."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

# Names that public DNS never resolves: a bare name (a container, a machine), or reserved ends.
_BARE = re.compile(r"[a-z][a-z0-9-]*")
_OWN_ENDS = (".localhost", ".local", ".internal", ".home.arpa")


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, without a port or a final dot."""
    return (urlsplit(url).hostname or "").rstrip(".")


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, for messages: no user, path or query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def is_own_host(host: str) -> bool:
    """Tell whether a host is this machine or one in a private network."""
    try:
        address = ip_address(host)
    except ValueError:
        return bool(_BARE.fullmatch(host)) or host.endswith(_OWN_ENDS)
    return address.is_loopback or address.is_private or address.is_link_local
