"""Who is calling: by an API key, by a signed token, or, where neither is asked for, by the address."""

from __future__ import annotations

import hmac
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import jwt

from api.problems import Problem
from maps.errors import InvalidInput

if TYPE_CHECKING:
    from starlette.types import Scope

    from api.settings import Settings

_LONGEST = 8192  # characters of a token


class Keys:
    """The keys and tokens that are believed."""

    def __init__(self, settings: Settings) -> None:
        """Reads the keys.

        Raises:
            InvalidInput: the file of keys, or the public key, cannot be used.
        """
        keys = [key.get_secret_value() for key in settings.api_keys] + _keys_in_file(settings)
        self._digests = [sha256(key.encode()).digest() for key in keys]
        secret = None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value()
        self._token_key = secret or _public_key(settings)
        self._algorithms = list(settings.jwt_algorithms or ("HS256",))  # never what the token itself says
        self._audience = settings.jwt_audience
        self._issuer = settings.jwt_issuer

    @property
    def required(self) -> bool:
        """Whether anybody has to show one."""
        return bool(self._digests) or self._token_key is not None

    def caller(self, scope: Scope) -> str:
        """A name for whoever sent a request, the same for all requests of one caller.

        Raises:
            Problem: 401, no key or token that is believed.
        """
        if not self.required:
            return _network(scope)
        headers = dict(scope["headers"])
        shown = _shown(headers.get(b"authorization", b"")) or headers.get(b"x-api-key", b"").decode("latin-1")
        if not shown:
            raise _unauthorized("a key is needed: Authorization: Bearer ..., or X-Api-Key", "")
        name = self._known_key(shown) or self._known_token(shown)
        if name is None:
            raise _unauthorized("the key is not valid", ', error="invalid_token"')
        return name

    def _known_key(self, shown: str) -> str | None:
        """A name for the key that was shown; all keys are compared, and as hashes, so that time tells nothing of them."""
        digest = sha256(shown.encode()).digest()
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return f"key {digest[:8].hex()}" if any(found) else None

    def _known_token(self, shown: str) -> str | None:
        if self._token_key is None or len(shown) > _LONGEST:
            return None
        try:
            claims = jwt.decode(
                shown,
                self._token_key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp"]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        return f"token {str(claims.get('sub', ''))[:200]}"


def _shown(authorization: bytes) -> str:
    scheme, _, value = authorization.decode("latin-1").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _unauthorized(detail: str, more: str) -> Problem:
    return Problem(401, "UNAUTHORIZED", detail, headers={"WWW-Authenticate": f'Bearer realm="flowfleet"{more}'})


def _network(scope: Scope) -> str:
    """The caller's address; of IPv6 the network, since one caller has all addresses of one."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return address.exploded[:19] if isinstance(address, IPv6Address) else host


def _keys_in_file(settings: Settings) -> list[str]:
    if settings.api_keys_file is None:
        return []
    try:
        lines = settings.api_keys_file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"the file of API_KEYS_FILE cannot be read: {settings.api_keys_file}", code="INVALID_SETTING") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise InvalidInput(f"the file of API_KEYS_FILE has no key: {settings.api_keys_file}", code="INVALID_SETTING")
    return keys


def _public_key(settings: Settings) -> str | None:
    """The public key, read once to see that every algorithm can use it."""
    pem = settings.jwt_public_key
    for name in settings.jwt_algorithms if pem is not None else ():
        try:
            jwt.get_algorithm_by_name(name).prepare_key(pem)
        except NotImplementedError:
            raise InvalidInput(f"{name} needs the Python package cryptography", code="INVALID_SETTING") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise InvalidInput(f"the setting JWT_PUBLIC_KEY is no public key for {name}", code="INVALID_SETTING") from None
    return pem
