"""Grafana's HTTP API through the library grafana-api, with errors sorted by whether to try again.

Redirects are not followed and proxies of the environment are not used: the token goes to the
configured address and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import (  # type: ignore[import-untyped]
    GrafanaException,
)
from grafana_api.grafana_face import GrafanaFace  # type: ignore[import-untyped]

from dashboards.grafana_push import Method
from sinks.errors import Permanent, Retryable

_NOT_FOUND: Final = 404
_WHAT_TO_DO: Final = {
    401: "The token is wrong or expired: make one for a service account.",
    403: "The token may not do this: it needs the role Admin, or Editor with access to alerting,"
    " folders and data sources.",
    409: "Somebody else is changing it: push again.",
    412: "It was changed or provisioned by another way, which must not be overwritten.",
}


class GrafanaHttp:
    """``url``: http(s)://host:port, with a path if Grafana is served below one."""

    def __init__(self, url: str, token: str, timeout_ms: int) -> None:
        parts = urlsplit(url)
        below = parts.path.strip("/")
        self._face = GrafanaFace(
            auth=token,
            host=parts.hostname or "",
            port=parts.port,
            url_path_prefix=f"{below}/" if below else "",
            protocol=parts.scheme,
            timeout=timeout_ms / 1000,
        )
        self._where = f"{parts.scheme}://{parts.netloc}"
        session: requests.Session = self._face.api.s
        session.trust_env = False
        session.max_redirects = 0

    def get(self, path: str) -> Any:
        """What is at ``path`` below ``/api``, None if nothing is."""
        return self._ask("GET", path, None)

    def send(self, method: Method, path: str, body: Mapping[str, Any]) -> Any:
        """Write. Raises Retryable or Permanent, without the text of the answer: it may quote
        what was sent."""
        return self._ask(method.value, path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        call = getattr(self._face.api, method)
        try:
            return call(path) if body is None else call(path, json=dict(body))
        except GrafanaException as error:
            status = int(error.status_code)
            if status == _NOT_FOUND and method == "GET":
                return None
            said = f"Grafana at {self._where} answers {status} to {method} /api{path}."
            if status >= 500 or status in (408, 429):
                raise Retryable(f"{said} Try again later, or see its log.") from None
            raise Permanent(
                f"{said} {_WHAT_TO_DO.get(status, 'See the log of Grafana.')}"
            ) from None
        except requests.TooManyRedirects:
            raise Permanent(
                f"Grafana at {self._where} redirects. Give the address it redirects to."
            ) from None
        except requests.exceptions.InvalidJSONError:
            raise Permanent(
                f"What answers at {self._where} is not Grafana's API: {method} /api{path} is no"
                " JSON. Check grafana.url."
            ) from None
        except requests.RequestException as error:
            raise Retryable(
                f"No answer from Grafana at {self._where} ({type(error).__name__}). Is it up, and"
                " is grafana.url right?"
            ) from None
