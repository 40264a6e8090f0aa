"""Which requests the viewer answers: those of its own page, and over a network those that bring the token."""

import contextlib
import http.client
import socket

import pytest

from panojax.viewer.guard import Guard, guarded, is_loopback

websockets = pytest.importorskip("websockets.sync.client")
exceptions = pytest.importorskip("websockets.exceptions")
viser = pytest.importorskip("viser")


@pytest.fixture(scope="module")
def servers():
    """A server for this machine, and one for a network (which listens here alone, as this is a test)."""
    guards = [Guard("127.0.0.1"), Guard("0.0.0.0")]
    started = []
    for guard in guards:
        with guarded(guard):
            started.append(viser.ViserServer(host="127.0.0.1", port=0, verbose=False))
    yield list(zip(guards, started))
    for server in started:
        server.stop()


def status(server, path="/", **headers):
    """The status of a page, and the cookie that it sets."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.get_port(), timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            response.read()
            return response.status, (response.getheader("Set-Cookie") or "").split(";")[0]


def connects(server, path="/", origin=None, host=None, cookie=None):
    """Whether a websocket opens."""
    port = server.get_port()
    headers = {} if cookie is None else {"Cookie": cookie}
    try:
        options = {"origin": origin, "additional_headers": headers, "subprotocols": [f"viser-v{viser.__version__}"]}
        with websockets.connect(f"ws://{host or '127.0.0.1'}:{port}{path}", **options, **_to_here(host, port)):
            return True
    except exceptions.InvalidStatus as error:
        assert error.response.status_code == 403
        return False


def _to_here(host, port):
    return {"sock": socket.create_connection(("127.0.0.1", port))} if host else {}


def test_a_page_of_this_machine_is_served_to_its_own_names_alone(servers):
    server = servers[0][1]
    port = server.get_port()
    assert status(server) == (200, "")
    for name in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert status(server, Host=name)[0] == 200
    for name in ("evil.example", f"evil.example:{port}", "192.168.0.7", f"localhost.evil.example:{port}", ""):
        assert status(server, Host=name)[0] == 403


def test_a_page_of_this_machine_is_driven_by_itself_alone(servers):
    server = servers[0][1]
    port = server.get_port()
    assert connects(server, origin=f"http://127.0.0.1:{port}")
    assert connects(server)  # no browser: those always tell
    for origin in (
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"http://127.0.0.1.evil.example:{port}",
    ):
        assert not connects(server, origin=origin)
    assert not connects(server, origin=f"http://evil.example:{port}", host="evil.example")  # rebound to this machine


def test_a_network_needs_the_token(servers):
    guard, server = servers[1]
    origin = f"http://127.0.0.1:{server.get_port()}"
    assert len(guard.token) >= 20 and guard.url(80).endswith(f"/?token={guard.token}")
    assert status(server)[0] == 403 and status(server, "/?token=guess")[0] == 403
    code, cookie = status(server, f"/?token={guard.token}")
    assert (code, cookie) == (200, f"panojax_viewer={guard.token}")
    assert status(server, Cookie=cookie)[0] == 200
    assert connects(server, origin=origin, cookie=cookie)
    assert not connects(server, origin=origin)
    assert not connects(server, origin="https://evil.example", cookie=cookie)


def test_the_page_has_our_script_and_our_websockets_are_guarded_too():
    seen = []

    async def own(connection):
        seen.append(await connection.recv())
        await connection.send("thanks")

    guard = Guard("127.0.0.1")
    with guarded(guard, script="window.ours = 1;", own={"/page": own}):
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        port = server.get_port()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
            with connection.getresponse() as response:
                text = response.read()
        assert text.count(b"<script>window.ours = 1;</script>") == 1 and b"</html>" in text
        with websockets.connect(f"ws://127.0.0.1:{port}/page?x=1") as socket_:
            socket_.send("hello")
            assert socket_.recv(timeout=10) == "thanks" and seen == ["hello"]
        assert connects(server)  # viser's own
        assert not connects(server, "/page", origin="https://evil.example")
    finally:
        server.stop()


def test_addresses():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "")))
    assert Guard("127.0.0.1").url(8080) == "http://127.0.0.1:8080/"
    assert Guard("::1").url(8080) == "http://[::1]:8080/"
    assert Guard("0.0.0.0").token != Guard("0.0.0.0").token
