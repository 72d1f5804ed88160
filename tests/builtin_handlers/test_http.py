"""`core.http`: what it sends, what it refuses, what it bounds.  A real server on this host answers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

import pytest

from orchestrator.builtin_handlers import http as http_module
from orchestrator.builtin_handlers.http import HttpFailed, http
from orchestrator.conf import conf
from orchestrator.handlers import Abort, StepContext
from tenants.networks import is_public

PRIVATE = (
    "http://localhost/", "http://127.0.0.1/", "http://127.1/", "http://2130706433/",
    "http://0x7f000001/", "http://0177.0.0.1/", "http://0/", "http://0.0.0.0/", "http://[::]/",
    "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::a00:1]/",
    "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://[fd00::1]/", "http://169.254.169.254/",
    "http://10.1.2.3/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/",
    "http://224.0.0.1/", "http://255.255.255.255/", "http://LOCALHOST./",
)  # fmt: skip
"""This host and its neighbours, however they are written."""


class Server(BaseHTTPRequestHandler):
    """Answers with what it was sent; some paths misbehave."""

    def do_GET(self) -> None:
        parts = self.path.split("/")
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        if parts[1] == "status":
            self.send_response(int(parts[2]))
            self.end_headers()
        elif parts[1] == "to":
            self.send_response(int(parts[2]))
            self.send_header("Location", "/" + "/".join(parts[3:]))
            self.end_headers()
        elif parts[1] == "away":
            self.send_response(int(parts[2]) if len(parts) > 2 else 302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/seen")  # type: ignore[attr-defined]
            self.end_headers()
        elif parts[1] == "big":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        elif parts[1] == "said":
            self.send_response(200)
            self.send_header("Content-Type", f"text/plain; charset={unquote(parts[2])}")
            self.end_headers()
            self.wfile.write(bytes.fromhex(parts[3]) * int(parts[4]))
        elif parts[1] == "zipped":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
        else:
            sent = {k.lower(): v for k, v in self.headers.items()}
            seen = {"method": self.command, "path": self.path, "headers": sent, "body": body}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"seen": seen, "big": 2**64}).encode())

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def setting(private: bool = True, hosts: str = "") -> None:
        monkeypatch.setenv("ORCHESTRATOR_HTTP_ALLOW_PRIVATE", str(private))
        monkeypatch.setenv("ORCHESTRATOR_HTTP_ALLOW", hosts)
        conf.cache_clear()

    yield setting
    conf.cache_clear()


def call(url: str, **args: Any) -> dict[str, Any]:
    ctx = StepContext("t", UUID(int=1), "s", None, 1, {})
    return asyncio.run(http(ctx, url=url, **args))


def test_get_and_post(server: str, allow: Callable[..., None]) -> None:
    allow()
    answer = call(f"{server}/a?b=c", headers={"X-One": "1"})
    assert (answer["status"], answer["json"]["big"]) == (200, 2**64)
    seen = answer["json"]["seen"]
    assert (seen["method"], seen["path"], seen["headers"]["x-one"]) == ("GET", "/a?b=c", "1")
    assert seen["headers"]["host"] == server.removeprefix("http://")
    assert seen["headers"]["idempotency-key"].endswith(":s")
    posted = call(server, method="post", json={"n": 2**64})["json"]["seen"]
    assert (posted["method"], posted["body"]) == ("POST", '{"n":18446744073709551616}')
    assert call(server, method="POST", body="plain")["json"]["seen"]["body"] == "plain"


def test_statuses(server: str, allow: Callable[..., None]) -> None:
    allow()
    with pytest.raises(HttpFailed, match="503"):
        call(f"{server}/status/503")
    assert call(f"{server}/status/404", expect=[404])["status"] == 404
    with pytest.raises(HttpFailed):
        call(server, expect=[404])


def test_redirects(server: str, allow: Callable[..., None]) -> None:
    allow()
    kept = call(f"{server}/to/307/seen", method="POST", body="x")["json"]["seen"]
    assert (kept["method"], kept["body"]) == ("POST", "x")
    turned = call(f"{server}/to/303/seen", method="POST", body="x")["json"]["seen"]
    assert (turned["method"], turned["body"]) == ("GET", "")
    with pytest.raises(HttpFailed, match="redirects"):
        call(f"{server}/to/302/to/302/to/302/to/302/to/302/to/302/seen")


def test_secrets_stay_with_their_host(server: str, allow: Callable[..., None]) -> None:
    allow()
    headers = {"Authorization": "secret", "X-Api-Key": "secret", "Accept": "text/plain"}
    here = call(f"{server}/to/302/seen", headers=headers)["json"]["seen"]["headers"]
    assert (here["authorization"], here["x-api-key"]) == ("secret", "secret")
    there = call(f"{server}/away", headers=headers)["json"]["seen"]["headers"]
    assert "secret" not in there.values()
    assert there["accept"] == "text/plain"
    with pytest.raises(Abort, match="gets no body"):
        call(f"{server}/away/307", headers=headers, method="POST", body="secret")


def test_bounds(server: str, allow: Callable[..., None]) -> None:
    allow()
    assert len(call(f"{server}/big")["body"]) == 5000
    with pytest.raises(Abort, match="larger"):
        call(f"{server}/big", max_bytes=4999)
    with pytest.raises(Abort, match="compressed"):
        call(f"{server}/zipped")


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"), ("UTF8", "utf-8"), ('"utf-8"', "utf-8"), ("utf-16", "utf-16"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32"), ("utf-32", "utf-32-le"),
        ("UTF-32LE", "utf-32-le"), ("iso-8859-1", "latin-1"), ("latin1", "latin-1"),
        ("ISO-8859-15", "iso8859-15"), ("windows-1251", "cp1251"), ("Shift_JIS", "shift_jis"),
        ("gb18030", "gb18030"), ("gb2312", "gb2312"), ("big5", "big5"), ("EUC-KR", "euc-kr"),
        ("euc-jp", "euc-jp"), ("koi8-r", "koi8-r"),
    ],
)  # fmt: skip
def test_the_body_is_read_in_the_charset_that_the_server_says(
    server: str, allow: Callable[..., None], charset: str, codec: str
) -> None:
    allow()
    text = {
        "cp1251": "Привет", "koi8-r": "Привет", "shift_jis": "日本", "euc-jp": "日本", "gb18030": "中文",
        "gb2312": "中文", "big5": "中文", "euc-kr": "한국", "latin-1": "größer",
    }.get(codec, "größer €")  # fmt: skip
    assert call(f"{server}/said/{quote(charset)}/{text.encode(codec).hex()}/1")["body"] == text


@pytest.mark.parametrize(
    "charset",
    ["foo", "punycode", "unicode_escape", "idna", "zlib_codec", "utf-7", "hex", "%22", "x" * 5000],
)
def test_any_other_charset_is_utf_8(server: str, allow: Callable[..., None], charset: str) -> None:
    allow()
    sent = "größer \\ud800 a-b9".encode() + b"\xff"
    answer = call(f"{server}/said/{charset}/{sent.hex()}/1")
    assert (answer["status"], answer["body"]) == (200, "größer \\ud800 a-b9\ufffd")


def test_a_long_body_holds_up_nobody(server: str, allow: Callable[..., None]) -> None:
    allow()
    busy: list[float] = []

    async def beat() -> None:
        """How long each turn of the loop computes, whatever else this machine does."""
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            busy.append(now - last)
            last = now

    async def both() -> dict[str, Any]:
        beating = asyncio.create_task(beat())
        url = f"{server}/said/utf-32/ffffffff/4000000"  # what takes longest to be read
        ctx = StepContext("t", UUID(int=1), "s", None, 1, {})
        answer = await http(ctx, url=url, max_bytes=2**24)
        await asyncio.sleep(0)
        beating.cancel()
        return answer

    assert len(asyncio.run(both())["body"]) == 4_000_000
    assert max(busy) < 0.2


def test_private_addresses_are_refused(server: str, allow: Callable[..., None]) -> None:
    allow(private=False)
    for url in (*PRIVATE, server):
        with pytest.raises(Abort, match=r"private address|Invalid IPv4"):
            call(url)
    with pytest.raises(Abort, match="private address"):
        call(server)


def test_a_redirect_to_a_private_address_is_refused(
    server: str, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(private=False)
    seen = answering(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
    port = server.rpartition(":")[2]
    public = {"127.0.0.1"}
    monkeypatch.setattr(
        http_module, "is_public", lambda address: public and public.pop() == str(address)
    )
    with pytest.raises(Abort, match="private address"):
        call(f"http://public.example:{port}/to/302/seen")
    assert seen == ["public.example", "public.example"], "each hop is judged anew"


def test_a_name_that_changes_its_mind_is_asked_once(
    server: str, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow()
    seen = answering(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    port = server.rpartition(":")[2]
    answer = call(f"http://rebinding.example:{port}/seen")["json"]["seen"]
    assert answer["headers"]["host"] == f"rebinding.example:{port}"
    assert seen == ["rebinding.example"], "the connection went to the address that was judged"


def test_one_private_address_among_public_ones_is_refused(
    allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(private=False)
    answering(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Abort, match="private address"):
        call("http://mixed.example/")


def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the resolver give these answers, one after the other; answers the names that were asked."""
    left, asked = list(answers), []

    async def getaddrinfo(_loop: object, host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nHost: evil"}, {"X": "a\nb"}, {"X\r\nY": "a"}, {"X:": "a"}, {"": "a"}, {"X": "ä"},
     {"X": 1}, {"X": "a\0"}],
)  # fmt: skip
def test_no_header_makes_another(
    server: str, allow: Callable[..., None], headers: dict[str, Any]
) -> None:
    allow()
    with pytest.raises(Abort, match="header"):
        call(f"{server}/seen", headers=headers)


def test_hosts_off_the_list_are_refused(server: str, allow: Callable[..., None]) -> None:
    allow(hosts="api.example.org, 127.0.*")
    assert call(server)["status"] == 200
    with pytest.raises(Abort, match="not among the hosts"):
        call("http://localhost/")
    with pytest.raises(Abort, match="not among the hosts"):
        call(f"{server}/away")  # a redirect is judged too


@pytest.mark.parametrize(
    "args",
    [
        {"url": "ftp://example.org/"},
        {"url": "http://"},
        {"url": "http://user:pw@example.org/"},
        {"url": "http://a\nb"},
        {"url": "http://example.org", "method": "TRACE"},
        {"url": "http://example.org", "body": "x", "json": 1},
        {"url": "http://example.org", "timeout": "soon"},
    ],
)
def test_nonsense_is_not_retried(args: dict[str, Any]) -> None:
    with pytest.raises(Abort):
        call(**args)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b:1::a00:1", False),
        ("fec0::1", False),
        ("::10.0.0.1", False),
        ("2002:7f00:1::1", False),
        ("2001:0:5ef5:79fb::1", False),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public
