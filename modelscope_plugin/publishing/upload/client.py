"""ModelScope's own hub client: opened with a token, and its exceptions in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelscope_plugin.errors import HubError

if TYPE_CHECKING:
    from modelscope_hub import HubApi

_TOKEN = re.compile(r"[!-~]+")
_TOKEN_REMEDY = "give one with --token or in MODELSCOPE_API_TOKEN, or save it with `modelscope login`"


def open_client(token: str | None) -> HubApi:
    """Open the hub client.

    Args:
        token: Access token; by default the one of MODELSCOPE_API_TOKEN, else the one saved by ``modelscope login``.

    Returns:
        The client.

    Raises:
        HubError: If there is no token, or it cannot be one.
    """
    from modelscope_hub import HubApi, HubConfig

    config = HubConfig(token=token)
    config.token = (config.token or "").strip()
    if not config.token:
        raise HubError(f"uploading to {config.endpoint} needs an access token; {_TOKEN_REMEDY}")
    if not _TOKEN.fullmatch(config.token):
        raise HubError(f"the access token holds characters that no token has; {_TOKEN_REMEDY}")
    return HubApi(config)


def client_errors() -> tuple[type[Exception], ...]:
    """What the client raises."""
    from modelscope_hub import HubError as ClientError

    return OSError, RuntimeError, ValueError, ClientError


@contextmanager
def in_words(api: HubApi, repo_id: str) -> Iterator[None]:
    """Turn what the client raises into `HubError`."""
    try:
        yield
    except client_errors() as error:
        raise explained(error, api, repo_id) from None


def explained(error: Exception, api: HubApi, repo_id: str) -> HubError:
    """Say what an exception of the client means and what would help, without secrets."""
    from modelscope_hub import APIError, AuthenticationError, NetworkError, PermissionDeniedError
    from requests import RequestException

    if isinstance(error, HubError):
        return error
    endpoint, owner = api.legacy.endpoint, repo_id.split("/")[0]
    again = "upload again: what has arrived is not sent twice"
    if isinstance(error, AuthenticationError):
        return HubError(f"{endpoint} refuses the access token; {_TOKEN_REMEDY}")
    if isinstance(error, PermissionDeniedError):
        return HubError(f"the access token may not write to {repo_id}; use one of {owner} that has the right to write")
    if isinstance(error, NetworkError | RequestException):
        return HubError(
            f"{endpoint} cannot be reached or broke off; check the network and MODELSCOPE_ENDPOINT, {again}"
        )
    if isinstance(error, APIError) and error.status_code:
        reason = _without_secrets(error.message, str(api.legacy.token))
        return HubError(f"{endpoint} answers {error.status_code} to the upload to {repo_id} ({reason}); {again}")
    return HubError(f"the upload to {repo_id} failed ({type(error).__name__}); {again}")


def _without_secrets(message: str, token: str) -> str:
    """The first line of what the hub says, without the token and the queries of addresses, which can be signed."""
    line = (message.splitlines() or [""])[0].replace(token, "***")
    return re.sub(r"\?\S+", "", line)[:200]
