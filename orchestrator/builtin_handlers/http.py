"""`core.http`: an HTTP request that cannot be turned against the server's own network.

Names are resolved here and every address is judged; the connection then goes to the judged address,
so that a name which answers differently the second time gains nothing.  Each redirect is judged
anew.  Time, size and redirects are bounded."""

from __future__ import annotations

import asyncio
import codecs
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

import httpx

from orchestrator.conf import conf, names
from orchestrator.domain import jsonvalue
from orchestrator.domain.durations import parse_duration
from orchestrator.handlers import Abort, StepContext, handler
from tenants.networks import Address, is_public

MOST_REDIRECTS = 5
LARGEST_ANSWER = 16 * 1024 * 1024
LONGEST_S = 3600.0
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEPT_HEADERS = (
    "accept", "accept-encoding", "accept-language", "content-type", "idempotency-key", "user-agent",
)  # fmt: skip
"""What another host than the one that was named gets to see after a redirect."""


def _plain(charset: str) -> str:
    """A charset's name without what it is written with in one way or another."""
    return charset.lower().replace("-", "").replace("_", "")


CHARSETS = {
    _plain(name): name
    for name in (
        "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be", "latin-1",
        *(f"iso-8859-{part}" for part in (*range(1, 12), *range(13, 17))),
        *(f"{prefix}{page}" for prefix in ("windows-", "cp") for page in range(1250, 1259)),
        "koi8-r", "koi8-u", "shift_jis", "euc-jp", "iso-2022-jp", "gb2312", "gbk", "gb18030",
        "big5", "big5-hkscs", "euc-kr", "tis-620",
    )
}  # fmt: skip
"""What a server may say that its body is in.  It chooses among these alone: others take time that grows with
the square of a body (punycode), are no text, or make what JSON cannot hold."""
BOMS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""What says the order of their bytes; without it the low ones come first."""
PIECE = 256 * 1024
_SAID_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([\w.-]{1,40})""", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpFailed(Exception):
    """The server's answer has a status that was not expected."""


class ServerFailed(HttpFailed):
    """The status says that the server itself fails (500 or above)."""


@handler("core.http")
async def http(
    ctx: StepContext,
    *,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    json: object = None,
    timeout: str | float = "30s",  # noqa: ASYNC109  (a step's argument)
    max_bytes: int = 1024 * 1024,
    expect: list[int] | None = None,
) -> dict[str, object]:
    """`{status, headers, body, json}` of the answer; `json` is null where the body is none.

    A status outside of 200 to 299 (or of `expect`) fails the attempt: HttpFailed, from 500 up its
    narrower ServerFailed.  What the server
    does not allow is not retried."""
    if method.upper() not in METHODS:
        raise Abort(f"core.http: {method} is no method; it takes {', '.join(METHODS)}")
    if body is not None and json is not None:
        raise Abort("core.http takes either body or json")
    sent = _headers(headers or {})
    content = None if body is None else body.encode()
    if json is not None:
        content = jsonvalue.encode(json).encode()
        sent.setdefault("content-type", "application/json")
    sent.setdefault("idempotency-key", ctx.idempotency_key)
    if ctx.traceparent is not None:
        sent.setdefault("traceparent", ctx.traceparent)
    sent["accept-encoding"] = "identity"
    try:
        seconds = min(parse_duration(timeout).total_seconds(), LONGEST_S)
        target = httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise Abort(f"core.http: {error}") from None
    async with asyncio.timeout(seconds):
        answer = await _follow(
            target, method.upper(), sent, content, seconds, min(max_bytes, LARGEST_ANSWER)
        )
    status = answer["status"]
    assert isinstance(status, int)
    ctx.log.debug("%s %s answered %s", method.upper(), target.copy_with(query=None), status)
    if status not in expect if expect else not 200 <= status < 300:
        failed = ServerFailed if status >= 500 else HttpFailed
        raise failed(f"{method.upper()} {url} answered {status}")
    return answer


def _headers(given: Mapping[str, object]) -> httpx.Headers:
    """The headers, none of which ends its line.  Raises Abort."""
    sent: dict[str, str] = {}
    for name, value in given.items():
        if not _TOKEN.fullmatch(name):
            raise Abort("core.http: a header's name has characters that none may have")
        if not isinstance(value, str) or _CONTROL.search(value) or not value.isascii():
            raise Abort(f"core.http: the header {name} must be ASCII text without line ends")
        sent[name] = value
    return httpx.Headers(sent)


async def _follow(
    url: httpx.URL,
    method: str,
    headers: httpx.Headers,
    content: bytes | None,
    seconds: float,
    max_bytes: int,
) -> dict[str, object]:
    """Send, and follow redirects; secrets stay with the host that they were meant for."""
    async with httpx.AsyncClient(
        verify=_tls(), timeout=seconds, trust_env=False, follow_redirects=False
    ) as client:
        for _ in range(MOST_REDIRECTS + 1):
            answer, location = await _send(client, url, method, headers, content, max_bytes)
            if location is None:
                return answer
            following = url.join(location)
            if (following.scheme, following.host, following.port) != (
                url.scheme,
                url.host,
                url.port,
            ):
                headers = httpx.Headers(
                    [item for item in headers.multi_items() if item[0] in KEPT_HEADERS]
                )
                if content is not None and answer["status"] in (307, 308):
                    raise Abort(
                        f"core.http: {url.host} redirects to another place, which gets no body"
                    )
            status = answer["status"]
            if status == 303 or (status in (301, 302) and method == "POST"):
                method, content = ("HEAD" if method == "HEAD" else "GET"), None
                headers.pop("content-type", None)
            url = following
    raise HttpFailed(f"more than {MOST_REDIRECTS} redirects")


async def _send(
    client: httpx.AsyncClient,
    url: httpx.URL,
    method: str,
    headers: httpx.Headers,
    content: bytes | None,
    max_bytes: int,
) -> tuple[dict[str, object], str | None]:
    """One request: the answer, and where it redirects to."""
    address = await _judge(url)
    request = client.build_request(
        method,
        url.copy_with(host=str(address)),
        headers={**headers, "host": url.netloc.decode()},
        content=content,
        extensions={"sni_hostname": url.host},
    )
    response = await client.send(request, stream=True)
    try:
        if response.has_redirect_location:
            return {"status": response.status_code}, response.headers["location"]
        return await _read(response, max_bytes), None
    finally:
        await response.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> dict[str, object]:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Abort("core.http: the answer is compressed, although that was not asked for")
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > max_bytes:
            raise Abort(f"core.http: the answer is larger than {max_bytes:,} bytes")
    text = await _text(bytes(data), _charset(response))
    return {
        "status": response.status_code,
        "headers": dict(response.headers),
        "body": text.replace("\0", "\ufffd"),
        "json": _json(bytes(data)),
    }


def _charset(response: httpx.Response) -> str:
    """The codec of the charset that the server says, of those that are known; else UTF-8."""
    said = _SAID_CHARSET.search(response.headers.get("content-type", ""))
    return CHARSETS.get(_plain(said[1]), "utf-8") if said else "utf-8"


async def _text(data: bytes, charset: str) -> str:
    """The body as text, what is none replaced; piece by piece, so that others have their turns."""
    if charset in BOMS and not data.startswith(BOMS[charset]):
        charset += "-le"
    decoder, texts = codecs.getincrementaldecoder(charset)("replace"), []
    for at in range(0, len(data), PIECE):
        if at:
            await asyncio.sleep(0)
        texts.append(decoder.decode(data[at : at + PIECE]))
    return "".join((*texts, decoder.decode(b"", final=True)))


def _json(data: bytes) -> object:
    try:
        return jsonvalue.decode(data)
    except jsonvalue.BadJson:
        return None


async def _judge(url: httpx.URL) -> Address:
    """The address to connect to.  Raises Abort for what the server does not allow."""
    if url.scheme not in ("http", "https") or not url.host:
        raise Abort("core.http: the address must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise Abort("core.http: put credentials into a header, not into the address")
    host = url.host.lower().rstrip(".")
    patterns = names(conf().http_allow)
    if patterns and not any(fnmatchcase(host, pattern) for pattern in patterns):
        raise Abort(f"core.http: {host} is not among the hosts that the server allows")
    loop = asyncio.get_running_loop()
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise Abort(f"core.http: {host[:100]} is no host's name") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    if not conf().http_allow_private:
        for address in addresses:
            if not is_public(address):
                raise Abort(f"core.http: {host} is at a private address, which is not allowed")
    return addresses[0]


@cache
def _tls() -> ssl.SSLContext:
    """The system's certificates; read once, since that takes tens of milliseconds."""
    return ssl.create_default_context()
