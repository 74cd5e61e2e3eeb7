"""How both clients are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Mapping


def http_options(base_url: str, api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, Any]:
    """What a client of httpx2 is made with.

    Args:
        base_url: of the server.
        api_key: goes with every call as a bearer token.
        headers: further headers of every call.
    """
    key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    sent = {"User-Agent": "flowfleet-client", "Accept": "application/json, application/problem+json"}
    sent |= {"Accept-Encoding": "identity"}  # nearby, packing an answer takes longer than sending it
    # Whoever calls decides how many at a time. Idle connections are given up before the server closes them (after 5 s).
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=4.0)
    return {"base_url": base_url, "headers": sent | key | dict(headers or {}), "limits": limits}
