"""ModelScope's own hub client: its access token, its errors as `HubError`, and requests that are sent again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from modelscope_plugin.errors import HubError, PluginError
from modelscope_plugin.text import printable

if TYPE_CHECKING:
    from modelscope_hub import HubApi

T = TypeVar("T")

_TOKEN = re.compile(r"[!-~]+")
_TOKEN_REMEDY = "give one with --token or in MODELSCOPE_API_TOKEN, or save it with `modelscope login`"
_ATTEMPTS = 5
_LONGEST_WAIT = 60.0  # seconds


def open_client(token: str | None) -> HubApi:
    """Open the hub client.

    Args:
        token: Access token; by default the one of MODELSCOPE_API_TOKEN, else the one saved by ``modelscope login``.

    Returns:
        The client.

    Raises:
        HubError: If there is no token, or it has characters that no token has.
    """
    from modelscope_hub import HubApi, HubConfig

    config = HubConfig(token=token)
    config.token = (config.token or "").strip()
    if not config.token:
        raise HubError(f"uploading to {config.endpoint} needs an access token; {_TOKEN_REMEDY}")
    if not _TOKEN.fullmatch(config.token):
        raise HubError(f"the access token contains characters that no token has; {_TOKEN_REMEDY}")
    return HubApi(config)


@contextmanager
def translate_errors(api: HubApi, repo_id: str) -> Iterator[None]:
    """Raise the errors of the client as `HubError`, and keep signed addresses out of the log."""
    from modelscope_hub import HubError as ClientError

    connections = logging.getLogger("urllib3.connectionpool")
    connections.addFilter(_is_without_address)
    try:
        yield
    except (OSError, RuntimeError, ValueError, ClientError) as error:
        raise _translate(error, api, repo_id) from None
    finally:
        connections.removeFilter(_is_without_address)


def retry(request: Callable[[], T]) -> T:
    """Send a request, up to five times in all while the client says that the failure is temporary."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return request()
        except Exception as error:
            if not getattr(error, "retryable", False):
                raise
            wait = float(getattr(error, "retry_after", None) or 2**attempt)
        time.sleep(min(wait, _LONGEST_WAIT))
    return request()


def _translate(error: Exception, api: HubApi, repo_id: str) -> Exception:
    """Make an error that says what an exception of the client means and what would help, without secrets."""
    from modelscope_hub import APIError, AuthenticationError, NetworkError, PermissionDeniedError
    from requests import RequestException

    if isinstance(error, PluginError):
        return error
    endpoint, owner = api.legacy.endpoint, repo_id.split("/")[0]
    again = "upload again: files that have arrived are not sent twice"
    if isinstance(error, AuthenticationError):
        return HubError(f"{endpoint} refuses the access token; {_TOKEN_REMEDY}")
    if isinstance(error, PermissionDeniedError):
        return HubError(f"the access token may not write to {repo_id}; use one of {owner} that has permission to write")
    if isinstance(error, NetworkError | RequestException):
        return HubError(
            f"{endpoint} cannot be reached, or the connection broke; check the network and MODELSCOPE_ENDPOINT, {again}"
        )
    if isinstance(error, APIError) and error.status_code:
        reason = _redact(error.message, str(api.legacy.token))
        return HubError(f"{endpoint} answers {error.status_code} to the upload to {repo_id} ({reason}); {again}")
    return HubError(f"the upload to {repo_id} failed ({type(error).__name__}); {again}")


def _redact(message: str, token: str) -> str:
    """Return the first line of the hub's message without the token, queries of addresses and control characters."""
    line = (message.splitlines() or [""])[0].replace(token, "***")
    return printable(re.sub(r"\?\S+", "", line))[:200]


def _is_without_address(record: logging.LogRecord) -> bool:
    """False for a retried connection, whose log line has the address with its signature."""
    return "?" not in record.getMessage()
