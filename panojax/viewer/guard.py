"""Who may use the viewer: a browser that opened it on this machine, or one that was given its address and token.

Any page that is open in a browser may open a websocket to this machine, and a name that its owner points here makes
the viewer one of that page's own addresses (DNS rebinding). Origin and Host tell both apart from the viewer's page.
"""

import contextlib
import hmac
import http
import http.cookies
import ipaddress
import secrets
import threading
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

_patching = threading.Lock()


class Guard:
    """Looks at each request to a server.

    Attributes:
      host: the address that the server listens at.
      token: None where that is this machine's own (loopback). Else it must be in the page's address, which then leaves
        it as a cookie.
    """

    def __init__(self, host: str):
        self.host = host
        self.token = None if is_loopback(host) else secrets.token_urlsafe(16)

    def url(self, port: int) -> str:
        """The address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/" + (f"?token={self.token}" if self.token else "")

    def problem(self, path: str, headers: Any) -> str | None:
        """Why a request is refused, or None."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
            return "requests must come from the viewer's own page"
        if self.token is None:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
            return None if is_loopback(name) else "the viewer must be opened by this machine's own address"
        given = self._given(path, headers)
        if any(hmac.compare_digest(token.encode(), self.token.encode()) for token in given):
            return None
        return "the viewer must be opened by the address that it printed, token included"

    def _given(self, path: str, headers: Any) -> list[str]:
        """Tokens in a request's address and cookies."""
        tokens = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query).get("token", [])
        cookies = http.cookies.SimpleCookie()
        with contextlib.suppress(http.cookies.CookieError):
            cookies.load(headers.get("Cookie", ""))
        return tokens[:1] + [cookie.value for name, cookie in cookies.items() if name == _COOKIE]


_COOKIE = "panojax_viewer"


def is_loopback(host: str) -> bool:
    """Whether an address or a name can only be this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Handler = Callable[[Any], Awaitable[None]]


@contextlib.contextmanager
def guarded(guard: Guard, *, script: str = "", own: Mapping[str, Handler] | None = None) -> Iterator[None]:
    """The server that viser starts in the block shows each request to `guard` first.

    viser has no setting for it, so the function by which it makes its server is wrapped while it does.

    Args:
      script: JavaScript that its page runs, too.
      own: what serves websockets of ours, by their paths, instead of viser.
    """
    import websockets.asyncio.server as websockets

    with _patching:
        serve = websockets.serve

        def serve_guarded(handler: Handler, *arguments: Any, process_request: Any = None, **options: Any) -> Any:
            def look(connection: Any, request: Any) -> Any:
                try:
                    problem = guard.problem(request.path, request.headers)
                except ValueError:  # an address that is none
                    problem = "the request has no proper address"
                if problem is not None:
                    return connection.respond(http.HTTPStatus.FORBIDDEN, f"{problem}\n")
                if script and "Accept-Encoding" in request.headers:
                    del request.headers["Accept-Encoding"]  # a page that is packed cannot be added to
                response = process_request(connection, request) if process_request else None
                if response is not None and script:
                    _add_script(response, script)
                if response is not None and guard.token is not None:
                    response.headers["Set-Cookie"] = f"{_COOKIE}={guard.token}; Path=/; HttpOnly; SameSite=Strict"
                return response

            async def handle(connection: Any) -> None:
                await (own or {}).get(urllib.parse.urlsplit(connection.request.path).path, handler)(connection)

            return serve(handle, *arguments, process_request=look, **options)

        websockets.serve = serve_guarded  # type: ignore[misc, assignment]
        try:
            yield
        finally:
            websockets.serve = serve  # type: ignore[misc]


def _add_script(response: Any, script: str) -> None:
    """Puts a script into a response that is a page."""
    if response.body and "text/html" in response.headers.get("Content-Type", ""):
        response.body = response.body.replace(b"<head>", b"<head><script>" + script.encode() + b"</script>", 1)
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(response.body))
