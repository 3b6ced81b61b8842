"""The requests that decide what is accepted and what is refused, the same for every codec.

A case is what a peer sends on one connection, what the application must see of it, and the status of the refusal that
ends the connection (None when nothing is refused). The rows follow RFC 9110, RFC 9112 and RFC 3986; where these leave
a choice, the strict one is made. Data only: `test_corpus` runs it.
"""

from __future__ import annotations

from typing import NamedTuple

Fields = tuple[tuple[bytes, bytes], ...]


class Seen(NamedTuple):
    """One request as the application must see it. `headers` None: not compared."""

    method: str = "GET"
    path: str = "/"
    body: bytes = b""
    headers: Fields | None = None
    query: bytes = b""
    version: str = "1.1"


class Case(NamedTuple):
    name: str
    raw: bytes
    seen: tuple[Seen, ...] = ()
    status: int | None = None


CASES: list[Case] = []


def ok(name: str, raw: bytes, *seen: Seen) -> None:
    CASES.append(Case(name, raw, seen))


def bad(name: str, raw: bytes, status: int = 400, *seen: Seen) -> None:
    """Refused with `status`; `seen` are the requests before it."""
    CASES.append(Case(name, raw, seen, status))


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    """A head of these lines."""
    fields = (b"Host: a", *lines) if host else lines
    return b"\r\n".join((first, *fields, b"", b""))


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines, first=b"POST / HTTP/1.1") + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


GET, POST = Seen(), Seen("POST")
HOST = (b"host", b"a")

# -- request line ----------------------------------------------------------------------------------------------

ok("plain GET", get(), Seen(headers=(HOST,)))
METHODS = """
    GET HEAD POST PUT DELETE OPTIONS PATCH TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK
    BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE
    MKCALENDAR LINK UNLINK QUERY
"""
for method in METHODS.split():
    ok(f"method {method}", get(first=method.encode() + b" / HTTP/1.1"), Seen(method))
ok("HTTP/1.0", get(first=b"GET / HTTP/1.0"), Seen(version="1.0"))
ok("HTTP/1.0 without Host", get(first=b"GET / HTTP/1.0", host=False), Seen(version="1.0", headers=()))
ok("one empty line before the request", b"\r\n" + get(), GET)
ok("an empty line after a request", get() + b"\r\n" + get(), GET, GET)
ok(
    "an empty line after a body",
    post(b"Content-Length: 2", body=b"ab") + b"\r\n" + get(),
    Seen("POST", body=b"ab"),
    GET,
)
bad("two empty lines before the request", b"\r\n\r\n" + get())
bad("two empty lines between requests", get() + b"\r\n\r\n" + get(), 400, GET)
bad("three empty lines between requests", get() + b"\r\n\r\n\r\n" + get(), 400, GET)
bad("a bare LF before the request", b"\n" + get())
bad("a bare CR before the request", b"\r" + get())
bad("an unknown method", get(first=b"BREW / HTTP/1.1"), 501)
bad("a method in lower case", get(first=b"get / HTTP/1.1"), 501)
bad("an RTSP method", get(first=b"DESCRIBE / HTTP/1.1"), 501)
bad("llhttp's SOURCE", get(first=b"SOURCE / HTTP/1.1"), 501)
bad("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
bad("a method that is no token", get(first=b"G@T / HTTP/1.1"))
bad("a method in brackets", get(first=b"(GET) / HTTP/1.1"))
bad("an empty method", get(first=b" / HTTP/1.1"))
bad("a control byte in the method", get(first=b"G\x01T / HTTP/1.1"))
bad("two spaces after the method", get(first=b"GET  / HTTP/1.1"))
bad("two spaces before the version", get(first=b"GET /  HTTP/1.1"))
bad("a space at the end of the line", get(first=b"GET / HTTP/1.1 "))
bad("a space before the line", get(first=b" GET / HTTP/1.1"))
bad("tabs for spaces", get(first=b"GET\t/\tHTTP/1.1"))
bad("no version (HTTP/0.9)", get(first=b"GET /"))
bad("only a method", get(first=b"GET"))
bad("four words", get(first=b"GET / x HTTP/1.1"))
for version in (
    b"HTTP/1",
    b"HTTP/2",
    b"HTTP/1.",
    b"HTTP/11.1",
    b"HTTP/1.10",
    b"http/1.1",
    b"HTTP/1,1",
    b"HTTP/-.1",
    b"HTTP/1.a",
):
    bad(f"version {version.decode()}", get(first=b"GET / " + version))
bad("a byte that no method has, and another version", b"\x00" + get(first=b"GET / HTTP/2.0"), 400)
bad("a method that is none, and another version", get(first=b"G(T / HTTP/2.0"), 400)
for version in (b"HTTP/0.9", b"HTTP/0.0", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/9.9"):
    bad(f"version {version.decode()}", get(first=b"GET / " + version), 505)
for minor in range(2, 10):
    later = b"POST / HTTP/1.%d" % minor
    ok(f"HTTP/1.{minor}", get(first=b"GET / HTTP/1.%d" % minor) + get(), GET, GET)
    ok(f"HTTP/1.{minor}, parsed", get(b"X:\ta", first=b"GET / HTTP/1.%d" % minor) + get(), GET, GET)
    ok(
        f"HTTP/1.{minor} in chunks",
        get(b"Transfer-Encoding: chunked", first=later) + b"1\r\na\r\n0\r\n\r\n" + get(),
        Seen("POST", body=b"a"),
        GET,
    )
    bad(f"HTTP/1.{minor} without Host", get(first=b"GET / HTTP/1.%d" % minor, host=False))
bad("RTSP/1.0", get(first=b"GET / RTSP/1.0"))
bad("ICE/1.0", get(first=b"GET / ICE/1.0"))
bad("a version with text behind", get(first=b"GET / HTTP/1.1x"))
bad("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
bad("a line that is text", b"hello world\r\n\r\n")
bad("an LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n")
bad("LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n")
bad("CR behind an unknown method", get(first=b"BREW /\rx HTTP/1.1"))
bad("LF behind an unknown method", get(first=b"BREW /\nx HTTP/1.1"))
bad("CR in the request line", get(first=b"GET /\r HTTP/1.1"))
bad("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n")
bad("NUL in the request line", get(first=b"GET /\x00 HTTP/1.1"))

# -- target ----------------------------------------------------------------------------------------------------

ok("a query", get(first=b"GET /a?b=c&d HTTP/1.1"), Seen(path="/a", query=b"b=c&d"))
ok("an empty query", get(first=b"GET /a? HTTP/1.1"), Seen(path="/a"))
ok("two question marks", get(first=b"GET /a?b?c HTTP/1.1"), Seen(path="/a", query=b"b?c"))
ok("percent-encoding", get(first=b"GET /%C3%A9%2Fx?%41 HTTP/1.1"), Seen(path="/é/x", query=b"%41"))
ok("a broken escape is left alone", get(first=b"GET /%zz% HTTP/1.1"), Seen(path="/%zz%"))
ok("escapes that are no UTF-8", get(first=b"GET /%ff HTTP/1.1"), Seen(path="/\ufffd"))
ok("an escaped NUL", get(first=b"GET /%00 HTTP/1.1"), Seen(path="/\0"))
ok("two slashes", get(first=b"GET //a//b HTTP/1.1"), Seen(path="//a//b"))
ok("dot segments are the application's", get(first=b"GET /../a/./b HTTP/1.1"), Seen(path="/../a/./b"))
ok("punctuation", get(first=b"GET /!\"$&'()*+,;=:@[]{}|\\^`~<> HTTP/1.1"), Seen(path="/!\"$&'()*+,;=:@[]{}|\\^`~<>"))
ok("a question mark at once", get(first=b"GET /?x HTTP/1.1"), Seen(query=b"x"))
ok("OPTIONS *", get(first=b"OPTIONS * HTTP/1.1"), Seen("OPTIONS", "*"))
bad("GET *", get(first=b"GET * HTTP/1.1"))
bad("OPTIONS *x", get(first=b"OPTIONS *x HTTP/1.1"))
bad("a path without its slash", get(first=b"GET a HTTP/1.1"))
bad("only a query", get(first=b"GET ?a HTTP/1.1"))
bad("a fragment", get(first=b"GET /a#b HTTP/1.1"))
bad("an empty target", get(first=b"GET  HTTP/1.1"))
for byte in (0x01, 0x09, 0x0B, 0x0C, 0x1B, 0x7F, 0x80, 0xE9, 0xFF):
    bad(f"byte {byte:#04x} in the target", get(first=b"GET /%c HTTP/1.1" % byte))
bad("UTF-8 in the target", get(first="GET /é HTTP/1.1".encode()))
bad("CONNECT", get(first=b"CONNECT a:80 HTTP/1.1"), 405)
bad("CONNECT to a path", get(first=b"CONNECT / HTTP/1.1"), 405)
ok(
    "absolute form",
    get(first=b"GET http://b:81/p?q HTTP/1.1"),
    Seen(path="/p", query=b"q", headers=((b"host", b"b:81"),)),
)
ok(
    "absolute form, https in capitals",
    get(first=b"GET HTTPS://b/p HTTP/1.1"),
    Seen(path="/p", headers=((b"host", b"b"),)),
)
ok("absolute form without a path", get(first=b"GET http://b HTTP/1.1"), Seen(headers=((b"host", b"b"),)))
ok("absolute form, query without a path", get(first=b"GET http://b?q HTTP/1.1"), Seen(query=b"q"))
ok(
    "absolute form in HTTP/1.0 without Host",
    get(first=b"GET http://b/p HTTP/1.0", host=False),
    Seen(path="/p", version="1.0", headers=((b"host", b"b"),)),
)
bad("absolute form without Host in 1.1", get(first=b"GET http://b/ HTTP/1.1", host=False))
bad("absolute form without an authority", get(first=b"GET http:///p HTTP/1.1"))
bad("absolute form with user information", get(first=b"GET http://u:p@b/ HTTP/1.1"))
bad("absolute form with a bad port", get(first=b"GET http://b:8x/ HTTP/1.1"))
bad("absolute form of another scheme", get(first=b"GET ftp://b/ HTTP/1.1"))
bad("authority form", get(first=b"GET a:80 HTTP/1.1"))

# -- Host ------------------------------------------------------------------------------------------------------

bad("no Host", get(host=False))
bad("two Host", get(b"Host: a"))
bad("two different Host", get(b"Host: b"))
bad("two Host in HTTP/1.0", get(b"Host: b", first=b"GET / HTTP/1.0"))
for host in (b"a", b"a:80", b"a:", b"", b"127.0.0.1", b"[::1]", b"[::1]:80", b"a-b.c_d~e", b"a%20b", b"[v1.a:b]"):
    ok(f"Host: {host.decode()}", get(b"Host: " + host, host=False), Seen(headers=((b"host", host),)))
for host in (
    b"a b",
    b"a/b",
    b"a@b",
    b"a:b",
    b"a:80:80",
    b"::1",
    b"[::1",
    b"a,b",
    b"a#b",
    b"a?b",
    b"a%2",
    b"\xe9",
    b"<a>",
):
    if host == b"a,b":  # a comma is allowed in a registered name (RFC 3986, sub-delims)
        ok("Host with a comma", get(b"Host: a,b", host=False), GET)
        continue
    bad(f"Host: {host!r}", get(b"Host: " + host, host=False))

# -- header fields ---------------------------------------------------------------------------------------------

ok("names are lower-cased, order kept", get(b"X-B: 1", b"x-a: 2"), Seen(headers=(HOST, (b"x-b", b"1"), (b"x-a", b"2"))))
ok("a field twice stays twice", get(b"X: 1", b"X: 2"), Seen(headers=(HOST, (b"x", b"1"), (b"x", b"2"))))
ok("no space after the colon", get(b"X:1"), Seen(headers=(HOST, (b"x", b"1"))))
ok("white space around a value", get(b"X: \t 1 2\t \t"), Seen(headers=(HOST, (b"x", b"1 2"))))
ok("an empty value", get(b"X:"), Seen(headers=(HOST, (b"x", b""))))
ok("a value of white space", get(b"X: \t "), Seen(headers=(HOST, (b"x", b""))))
ok("an empty value between others", get(b"X:", b"Y: 1"), Seen(headers=(HOST, (b"x", b""), (b"y", b"1"))))
ok("a colon in a value", get(b"X: a:b: c"), Seen(headers=(HOST, (b"x", b"a:b: c"))))
ok("bytes above 0x7f in a value", get(b"X: \xff\xc3\xa9"), Seen(headers=(HOST, (b"x", b"\xff\xc3\xa9"))))
ok("a tab in a value", get(b"X: a\tb"), Seen(headers=(HOST, (b"x", b"a\tb"))))
ok(
    "every token byte in a name",
    get(b"!#$%&'*+-.^_`|~09azAZ: 1"),
    Seen(headers=(HOST, (b"!#$%&'*+-.^_`|~09azaz", b"1"))),
)
ok("a long name", get(b"X" * 300 + b": 1"), Seen(headers=(HOST, (b"x" * 300, b"1"))))
ok("a long value", get(b"X: " + b"v" * 20000), Seen(headers=(HOST, (b"x", b"v" * 20000))))
ok("127 fields and Host", get(*[b"X: 1"] * 127), GET)
bad("129 fields", get(*[b"X: 1"] * 128), 431)
bad("a header block over the limit", get(b"X: " + b"v" * 70000), 431)
bad("a request line over the limit", get(first=b"GET /" + b"a" * 70000 + b" HTTP/1.1"), 414)
bad("a space before the colon", get(b"X : 1"))
bad("a tab before the colon", get(b"X\t: 1"))
bad("an empty name", get(b": 1"))
bad("no colon", get(b"X"))
bad("a space in a name", get(b"X Y: 1"))
bad("a space before a name", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
bad("an obsolete fold", get(b"X: a", b" b"))
bad("an obsolete fold with a tab", get(b"X: a", b"\tb"))
bad("an obsolete fold of white space", get(b"X: a", b" "))
bad("an obsolete fold before the end", get(b"X: a", b" ", b"Y: b"))
for char in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x1f", b"\x7f"):
    bad(f"{char!r} in a value", get(b"X: a" + char + b"b"))
    bad(f"{char!r} behind a value", get(b"X: a" + char))
    bad(f"{char!r} as a value", get(b"X: " + char))
    bad(f"{char!r} in a name", get(b"X" + char + b": 1"))
for code in b'"(),/;<=>?@[\\]{}\x80\xff':
    bad(f"{bytes([code])!r} in a name", get(b"X%c: 1" % code))
bad("a bare LF in a value", get(b"X: a\nb"))
bad("a bare CR in a value", get(b"X: a\rb"))
bad("a bare CR behind a value", get(b"X: a\r"))
bad("a bare LF ends a field", get(b"X: a\nY: b"))
bad("a bare LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\nX: a\r\n\r\n")
bad("CR alone ends a field", get(b"X: a\rY: b"))

# -- a body by length ------------------------------------------------------------------------------------------

ok("a body", post(b"Content-Length: 5", body=b"hello"), Seen("POST", body=b"hello"))
ok("a length of 0", post(b"Content-Length: 0"), POST)
ok("no length, no body", post(), POST)
ok("a GET with a body", get(b"Content-Length: 2") + b"ab", Seen(body=b"ab"))
ok("leading zeros", post(b"Content-Length: 005", body=b"hello"), Seen("POST", body=b"hello"))
ok("white space around a length", post(b"Content-Length: \t5 \t", body=b"hello"), Seen("POST", body=b"hello"))
ok(
    "a body that looks like a request",
    post(b"Content-Length: 27", body=b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n") + get(),
    Seen("POST", body=b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n"),
    GET,
)
ok(
    "a body in HTTP/1.0",
    get(b"Content-Length: 2", first=b"POST / HTTP/1.0") + b"ab",
    Seen("POST", body=b"ab", version="1.0"),
)
for length in (
    b"",
    b"-1",
    b"+1",
    b"0x1",
    b"1.0",
    b"1 1",
    b"1,1",
    b"1, 1",
    b"a",
    b"1a",
    b"\xb2",
    b"1;",
    b"1_0",
    b"9" * 19,
    b"9" * 30,
):
    bad(f"Content-Length: {length!r}", post(b"Content-Length: " + length, body=b"a"))
bad("the same length twice", post(b"Content-Length: 1", b"Content-Length: 1", body=b"a"))
bad("two lengths", post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"))
bad("a length and a space before the colon", post(b"Content-Length : 1", body=b"a"))

# -- a body in chunks ------------------------------------------------------------------------------------------

ok("chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n"), Seen("POST", body=b"hello"))
ok("chunked and empty", chunked(b"0\r\n\r\n"), POST)
ok("several chunks", chunked(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), Seen("POST", body=b"abc"))
ok(
    "hexadecimal in both cases",
    chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    Seen("POST", body=b"0123456789" * 2),
)
ok("zeros before a size", chunked(b"0001\r\na\r\n000\r\n\r\n"), Seen("POST", body=b"a"))
ok("CR LF inside a chunk", chunked(b"4\r\na\r\n0\r\n0\r\n\r\n"), Seen("POST", body=b"a\r\n0"))
ok("a chunk extension", chunked(b"1;a=b\r\na\r\n0;c\r\n\r\n"), Seen("POST", body=b"a"))
ok("a quoted chunk extension", chunked(b'1 ; a="b c"\r\na\r\n0\r\n\r\n'), Seen("POST", body=b"a"))
ok("a trailer is dropped", chunked(b"1\r\na\r\n0\r\nX: b\r\n\r\n"), Seen("POST", body=b"a"))
ok(
    "trailers never reach the headers",
    chunked(b"0\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: x\r\n\r\n"),
    Seen("POST", headers=(HOST, (b"transfer-encoding", b"chunked"))),
)
ok("the coding in capitals", post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"), POST)
ok("the coding with white space", post(b"Transfer-Encoding: \tchunked ", body=b"0\r\n\r\n"), POST)
ok("chunked, then another request", chunked(b"1\r\na\r\n0\r\n\r\n") + get(), Seen("POST", body=b"a"), GET)
ok("a GET in chunks", get(b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n", Seen(body=b"a"))
ok("an extension at its limit", chunked(b"1;" + b"x" * 254 + b"\r\na\r\n0\r\n\r\n"), Seen("POST", body=b"a"))
bad("an extension over its limit", chunked(b"1;" + b"x" * 255 + b"\r\na\r\n0\r\n\r\n"))
bad("an extension without end", chunked(b"1;" + b"x" * 1000))
bad("trailers over their limit", chunked(b"0\r\n" + b"X: y\r\n" * 1400 + b"\r\n"))
for size in (
    b"",
    b"g",
    b"-1",
    b"+1",
    b"0x1",
    b"1 1",
    b" 1",
    b"1g",
    b"1,",
    b"1\x00",
    b"f" * 17,
    b"1;\x01",
    b"1;a\rb",
    b"1\x0b",
):
    bad(f"chunk size {size!r}", chunked(size + b"\r\na\r\n0\r\n\r\n"))
bad("a chunk size that ends in LF", chunked(b"1\na\r\n0\r\n\r\n"))
bad("a chunk longer than its size", chunked(b"1\r\nab\r\n0\r\n\r\n"))
bad("a chunk shorter than its size", chunked(b"3\r\na\r\n0\r\n\r\n"))
bad("LF behind a chunk", chunked(b"1\r\na\n0\r\n\r\n"))
bad("CR behind a chunk", chunked(b"1\r\na\r0\r\n\r\n"))
bad("nothing behind a chunk", chunked(b"1\r\na0\r\n\r\n"))
bad("a trailer without a colon", chunked(b"0\r\nX\r\n\r\n"))
bad("a trailer with a space before its colon", chunked(b"0\r\nX : a\r\n\r\n"))
bad("a folded trailer", chunked(b"0\r\nX: a\r\n b\r\n\r\n"))
bad("a trailer that ends in LF", chunked(b"0\r\nX: a\n\r\n"))
bad("NUL in a trailer", chunked(b"0\r\nX: \x00\r\n\r\n"))
bad("LF after the last chunk", chunked(b"0\r\n\n"))

# -- Transfer-Encoding -----------------------------------------------------------------------------------------

CL1 = b"Content-Length: 1"
for value, status in (
    (b"gzip", 501),
    (b"identity", 501),
    (b"gzip, chunked", 501),
    (b"foo, chunked", 501),
    (b"xchunked", 501),
    (b"chunkedx", 501),
    (b"chunked;a=b", 501),
    (b"gzip;q=1, chunked", 501),
    (b"chunked, gzip", 400),
    (b"chunked, chunked", 400),
    (b"chunked, identity", 400),
    (b"", 400),
    (b",", 400),
    (b"chunked,", 400),
    (b",chunked", 400),
    (b"chunked chunked", 400),
    (b"chun ked", 400),
    (b'"chunked"', 400),
    (b"\xe9", 400),
):
    bad(f"Transfer-Encoding: {value!r}", post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"), status)
    bad(f"Transfer-Encoding: {value!r} and a length", post(b"Transfer-Encoding: " + value, CL1, body=b"0\r\n\r\n"))
    bad(f"a length and Transfer-Encoding: {value!r}", post(CL1, b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"))
bad("chunked and a length", chunked(b"0\r\n\r\n", b"Content-Length: 5"))
bad("a length and chunked", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
bad("chunked and a length of 0", chunked(b"0\r\n\r\n", b"Content-Length: 0"))
bad("chunked twice", chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked"))
bad("gzip and chunked in two fields", post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501)
bad("chunked and gzip in two fields", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"))
bad("chunked in HTTP/1.0", get(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0") + b"0\r\n\r\n")
bad("gzip in HTTP/1.0", get(b"Transfer-Encoding: gzip", first=b"POST / HTTP/1.0"), 501)
bad("gzip without Host", get(b"Transfer-Encoding: gzip", host=False))
bad("gzip, chunked without Host", get(b"Transfer-Encoding: gzip, chunked", host=False))
bad("gzip and a control byte in the target", get(b"Transfer-Encoding: gzip", first=b"POST /\x7f HTTP/1.1"))
bad("gzip and a bad field", post(b"Transfer-Encoding: gzip", b"X : 1"))
bad("a space before Transfer-Encoding's colon", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"))
UPGRADE = (b"Connection: upgrade", b"Upgrade: x")
for end, status in (
    (b"\t", 400),
    (b"\t ", 400),
    (b" \t", 400),
    (b"\x0b", 400),
    (b", gzip", 400),
    (b", x, chunked", 400),
):
    coding = b"Transfer-Encoding: chunked" + end
    bad(f"chunked and {end!r}", post(coding, body=b"0\r\n\r\n"), status)
    bad(f"chunked and {end!r} in an upgrade", post(*UPGRADE, coding, body=b"0\r\n\r\n"), status)
    bad(f"chunked and {end!r} before an upgrade", post(coding, *UPGRADE, body=b"0\r\n\r\n"), status)
bad("gzip and a tab", post(b"Transfer-Encoding: gzip\t"), 501)
bad("gzip and a tab in an upgrade", post(*UPGRADE, b"Transfer-Encoding: gzip\t"), 501)
bad("chunked and a tab without Host in an upgrade", get(*UPGRADE, b"Transfer-Encoding: chunked\t", host=False))
bad("gzip in an upgrade", post(*UPGRADE, b"Transfer-Encoding: gzip"), 501)
bad("a length and chunked in an upgrade", post(*UPGRADE, b"Content-Length: 1", b"Transfer-Encoding: chunked"))
bad("two lengths in an upgrade", post(*UPGRADE, b"Content-Length: 1", b"Content-Length: 1", body=b"a"))
bad("a length that is none in an upgrade", post(*UPGRADE, b"Content-Length: +1", body=b"a"))
bad("a vertical tab in the coding", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"))

# -- Connection, Upgrade, Expect -------------------------------------------------------------------------------

ok("close ends it", get(b"Connection: close") + get(), GET)
ok("close among others", get(b"Connection: x, Close ,y") + get(), GET)
ok("close in a second field", get(b"Connection: x", b"Connection: close") + get(), GET)
ok("keep-alive is the default", get(b"Connection: keep-alive") + get(), GET, GET)
ok("keep-alive and close: close", get(b"Connection: keep-alive, close") + get(), GET)
ok("close and keep-alive: close", get(b"Connection: close, keep-alive") + get(), GET)
ok("closed is not close", get(b"Connection: closed") + get(), GET, GET)
ok("close with text behind", get(b"Connection: close x") + get(), GET, GET)
ok("close with a parameter", get(b"Connection: close;x") + get(), GET, GET)
ok("an empty Connection", get(b"Connection:") + get(), GET, GET)
ok("commas alone", get(b"Connection: ,,") + get(), GET, GET)
ok("Proxy-Connection means nothing", get(b"Proxy-Connection: close") + get(), GET, GET)
ok("HTTP/1.0 closes", get(first=b"GET / HTTP/1.0") + get(), Seen(version="1.0"))
ok(
    "HTTP/1.0 keeps when asked",
    get(b"Connection: Keep-Alive", first=b"GET / HTTP/1.0") + get(),
    Seen(version="1.0"),
    GET,
)
ok(
    "HTTP/1.0, Proxy-Connection",
    get(b"Proxy-Connection: keep-alive", first=b"GET / HTTP/1.0") + get(),
    Seen(version="1.0"),
)
ok("an upgrade is ignored", get(b"Connection: Upgrade", b"Upgrade: h2c") + get(), GET, GET)
ok("an upgrade without Connection", get(b"Upgrade: h2c") + get(), GET, GET)
ok(
    "an upgrade with a body",
    post(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x", b"Content-Length: 2", body=b"ab"
    )
    + get(),
    Seen("POST", body=b"ab"),
    GET,
)
ok(
    "an upgrade with chunks",
    chunked(b"2\r\nab\r\n0\r\n\r\n", b"Connection: upgrade", b"Upgrade: h2c") + get(),
    Seen("POST", body=b"ab"),
    GET,
)
ok("Connection: upgrade alone", get(b"Connection: upgrade") + get(), GET, GET)
ok("an upgrade, then close", get(b"Connection: upgrade, close", b"Upgrade: x") + get(), GET)
ok(
    "Expect and its body at once",
    post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab"),
    Seen("POST", body=b"ab"),
)
ok("Expect without a body", get(b"Expect: 100-continue") + get(), GET, GET)
ok("an unknown expectation", get(b"Expect: 200-maybe") + get(), GET, GET)

# -- pipelining ------------------------------------------------------------------------------------------------

ok("three in a row", get() * 3, GET, GET, GET)
ok("bodies in a row", post(b"Content-Length: 1", body=b"a") * 2 + get(), *[Seen("POST", body=b"a")] * 2, GET)
bad("the second is refused", get() + get(b"X : 1"), 400, GET)
bad("text behind a body", post(b"Content-Length: 1", body=b"abc\r\n\r\n"), 400, Seen("POST", body=b"a"))
bad("the second has two lengths", get() + post(b"Content-Length: 1", b"Content-Length: 1"), 400, GET)
ok("HEAD, then GET", get(first=b"HEAD / HTTP/1.1") + get(), Seen("HEAD"), GET)
ok("half a head: nothing yet", get()[:-2])
ok("half a line: nothing yet", b"GE")
ok("nothing", b"")

# -- request smuggling: what has worked against some pair of servers ---------------------------------------------

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
ok("a length hides a request", get(b"Content-Length: %d" % len(HIDDEN)) + HIDDEN, Seen(body=HIDDEN))
ok("chunks hide a request", chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)), Seen("POST", body=HIDDEN))
ok("no length: the next request", post() + HIDDEN, POST, Seen(path="/hidden"))
ok("OPTIONS with a length", get(CL1, first=b"OPTIONS / HTTP/1.1") + b"a" + get(), Seen("OPTIONS", body=b"a"), GET)
ok("HEAD with a length", get(CL1, first=b"HEAD / HTTP/1.1") + b"a" + get(), Seen("HEAD", body=b"a"), GET)
ok("DELETE in chunks", get(b"Transfer-Encoding: chunked", first=b"DELETE / HTTP/1.1") + b"0\r\n\r\n", Seen("DELETE"))
ok("underscores are no hyphens", post(b"Content_Length: 5", b"Transfer_Encoding: chunked") + get(), POST, GET)
ok("names that only look alike", post(b"X-Content-Length: 5", b"Transfer-Encodings: chunked") + get(), POST, GET)
ok("TE is no Transfer-Encoding", post(b"TE: chunked") + get(), POST, GET)
ok("Trailer announces nothing", post(b"Trailer: Content-Length") + get(), POST, GET)
for field in (b"Content-Length: 35", b"content-length:0", b"Transfer-Encoding: chunked", b"HOST: b"):
    bad(f"{field.decode()} in a trailer", chunked(b"0\r\n" + field + b"\r\n\r\n") + HIDDEN)
    bad(f"{field.decode()} behind another trailer", chunked(b"1\r\na\r\n0\r\nX: y\r\n" + field + b"\r\n\r\n"))
ok(
    "Connection names the length",
    post(b"Connection: Content-Length", CL1, body=b"a") + get(),
    Seen("POST", body=b"a"),
    GET,
)
ok(
    "Connection names Host",
    get(b"Connection: Host", b"X: 1"),
    Seen(headers=(HOST, (b"connection", b"Host"), (b"x", b"1"))),
)
ok(
    "Expect and a hidden request",
    post(b"Expect: 100-continue", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN) + get(),
    Seen("POST", body=HIDDEN),
    GET,
)
ok("Expect twice", post(b"Expect: 100-continue", b"Expect: 100-continue", CL1, body=b"a"), Seen("POST", body=b"a"))
ok("a method in another field", get(b"X-HTTP-Method-Override: POST", CL1) + b"a", Seen(body=b"a"))
bad("a length and a folded coding", post(CL1, b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"))
bad("a coding with a fold behind", post(b"Transfer-Encoding: chunked", b" x", body=b"0\r\n\r\n"))
bad("a coding behind a bare LF", post(CL1, b"X: x\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"))
bad("a coding behind a bare CR", post(CL1, b"X: x\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"))
bad("a coding behind NUL", post(CL1, b"X: x\x00\r\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"))
bad("LF before the coding", post(CL1, b"Transfer-Encoding:\nchunked", body=b"0\r\n\r\n"))
bad("a tab behind the coding's name", post(CL1, b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"))
bad("a vertical tab behind the coding's name", post(CL1, b"Transfer-Encoding\x0b: chunked", body=b"0\r\n\r\n"))
bad("a space before the coding's name", post(CL1, b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
bad("the coding and its name in one", post(CL1, b"Transfer-Encoding chunked", body=b"0\r\n\r\n"))
bad("an unknown coding, then chunked", post(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked", CL1), 400)
bad("chunked, then an unknown coding", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", CL1), 400)
bad("a quoted coding and a length", post(b'Transfer-Encoding: "chunked"', CL1, body=b"a"))
bad("a length with a comma at its end", post(b"Content-Length: 1,", body=b"a"))
bad("a length with a comma before", post(b"Content-Length: ,1", body=b"a"))
bad("a length with a vertical tab", post(b"Content-Length: 1\x0b", body=b"a"))
bad("a length with a form feed before", post(b"Content-Length: \x0c1", body=b"a"))
bad("a length with a no-break space", post(b"Content-Length: 1\xa0", body=b"a"))
bad("a length in other digits", post("Content-Length: ١".encode(), body=b"a"))
bad("a length with an exponent", post(b"Content-Length: 1e1", body=b"a"))
bad("two lengths with other names between", post(CL1, b"X: y", b"CONTENT-LENGTH: 1", body=b"a"))
bad("a length and an empty one", post(CL1, b"Content-Length:", body=b"a"))
bad("LF ends a chunk extension", chunked(b"1;\nx\r\na\r\n0\r\n\r\n"))
bad("CR inside a chunk extension", chunked(b"1;\rx\r\na\r\n0\r\n\r\n"))
bad("CR CR LF behind a size", chunked(b"1\r\r\na\r\n0\r\n\r\n"))
bad("two other bytes behind a chunk", chunked(b"1\r\naXX0\r\n\r\n"))
bad("LF LF behind a chunk", chunked(b"1\r\na\n\n0\r\n\r\n"))
bad("a size that wraps at 64 bits", chunked(b"10000000000000001\r\na\r\n0\r\n\r\n"))
bad("a size with a space behind", chunked(b"1 \r\na\r\n0\r\n\r\n"))
bad("a size with an underscore", chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"))
bad("a size in quotes", chunked(b'"1"\r\na\r\n0\r\n\r\n'))
bad("an empty line for a size", chunked(b"\r\n1\r\na\r\n0\r\n\r\n"))
bad("a last chunk with text behind", chunked(b"0x\r\n\r\n"))
bad("a request in place of a trailer", chunked(b"0\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"))
bad("a Host in the authority and a bad one", get(b"Host: a b", first=b"GET http://b/ HTTP/1.1", host=False))
bad("a Host folded", get(b"Host: a", b" b", host=False))
bad("a Host with a tab", get(b"Host: a\tb", host=False))
bad("a target with a line break", get(first=b"GET /\r\nX: y HTTP/1.1"))
bad("a target with an escaped space left open", get(first=b"GET /a b HTTP/1.1"))
bad("a second version in the line", get(first=b"GET / HTTP/1.1 HTTP/1.1"))
bad("a reply in place of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
bad("a proxy's preamble", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get())
