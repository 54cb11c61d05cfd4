"""Bytes from anyone: limits, smuggling, broken frames, slow heads, floods. Every case has a defined answer, and the server lives."""
import base64
import os
import socket
import struct
import time

import pytest

from parleyd import Server, token

KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture(autouse=True)
def still_alive(server):
    yield
    assert server.http("/health")[0] == 200


class Peer:
    """A raw TCP client."""

    def __init__(self, server):
        self.s = socket.create_connection(("127.0.0.1", server.port), timeout=15)
        self.buffer = b""

    def send(self, data: bytes, pieces: int = 0):
        try:
            if not pieces:
                self.s.sendall(data)
            else:
                self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for i in range(0, len(data), pieces):
                    self.s.sendall(data[i:i + pieces])
        except (BrokenPipeError, ConnectionResetError):
            pass   # the server has already refused

    def read_some(self) -> bytes:
        try:
            data = self.s.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return data

    def read_all(self) -> bytes:
        while self.read_some():
            pass
        return self.buffer

    def status(self) -> int:
        while b"\r\n\r\n" not in self.buffer:
            if not self.read_some():
                break
        return int(self.buffer.split(b" ")[1]) if self.buffer else 0

    def head(self) -> bytes:
        self.status()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def upgrade(self, extra: str = ""):
        self.send(upgrade_request(extra))
        assert self.status() == 101, self.buffer
        self.head()
        return self

    def frame(self):
        """(opcode, payload) of the next frame, or None at the end."""
        while True:
            b = self.buffer
            if len(b) >= 2:
                n, at = b[1] & 127, 2
                if n == 126 and len(b) >= 4:
                    n, at = struct.unpack(">H", b[2:4])[0], 4
                elif n == 127 and len(b) >= 10:
                    n, at = struct.unpack(">Q", b[2:10])[0], 10
                if n < 126 or at > 2:
                    if len(b) >= at + n:
                        self.buffer = b[at + n:]
                        return b[0] & 15, b[at:at + n]
            if not self.read_some():
                return None

    def close_code(self):
        """The code of the server's close frame; 0 when there was none."""
        while True:
            f = self.frame()
            if f is None:
                return 0
            if f[0] == 8:
                return struct.unpack(">H", f[1][:2])[0] if f[1] else 1005


def upgrade_request(extra="", path="/connection/websocket", version="13", key=KEY, method="GET", http="HTTP/1.1", host="Host: 127.0.0.1\r\n"):
    return (f"{method} {path} {http}\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{extra}\r\n").encode()


def frame(opcode, payload=b"", fin=True, mask=True, rsv=0, length=None, length_bytes=None):
    n = len(payload) if length is None else length
    out = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    m = 0x80 if mask else 0
    if length_bytes == 8 or (length_bytes is None and n > 65535):
        out += bytes([m | 127]) + struct.pack(">Q", n)
    elif length_bytes == 2 or (length_bytes is None and n > 125):
        out += bytes([m | 126]) + struct.pack(">H", n)
    else:
        out += bytes([m | n])
    if mask:
        key = os.urandom(4)
        out += key + bytes(b ^ key[i & 3] for i, b in enumerate(payload))
    else:
        out += payload
    return out


CONNECT = b'{"id":1,"connect":{"token":"' + token({"sub": "ann"}).encode() + b'"}}'


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("name,request_bytes,status", [
    ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    ("space before colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("CL and TE", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("two CLs", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n{}{}{", 400),
    ("two equal CLs", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("garbled CL", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}", 400),
    ("negative CL", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("huge CL", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", (400, 413)),
    ("too large CL", b"POST /api/info HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n", 413),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("body on an upgrade", upgrade_request("Content-Length: 3\r\n") + b"abc", 400),
    ("chunked upgrade", upgrade_request("Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
    ("HTTP/1.0 upgrade", upgrade_request(http="HTTP/1.0"), (400, 505)),
    ("POST upgrade", upgrade_request(method="POST"), (400, 405)),
    ("version 8", upgrade_request(version="8"), 426),
    ("short key", upgrade_request(key="abc"), 400),
    ("two keys", upgrade_request(f"Sec-WebSocket-Key: {KEY}\r\n"), 400),
    ("foreign Origin", upgrade_request("Origin: https://evil.example\r\n"), 403),
    ("null Origin", upgrade_request("Origin: null\r\n"), 403),
    ("no upgrade", b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\n\r\n", (400, 426)),
    ("Protobuf", upgrade_request("Sec-WebSocket-Protocol: centrifuge-protobuf\r\n"), 400),
])
def test_http_refused(server, name, request_bytes, status, pieces):
    p = Peer(server)
    p.send(request_bytes, pieces)
    got = p.status()
    assert got in (status if isinstance(status, tuple) else (status,)), (name, got, p.buffer[:200])
    p.s.close()


def test_same_origin_is_accepted(server):
    p = Peer(server)
    p.send(upgrade_request(f"Origin: http://127.0.0.1:{server.port}\r\n", host=f"Host: 127.0.0.1:{server.port}\r\n"))
    assert p.status() == 101


def test_accept_value(server):
    p = Peer(server)
    p.send(upgrade_request(key="dGhlIHNhbXBsZSBub25jZQ=="))
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in p.head()


@pytest.mark.parametrize("over", [0, 1])
def test_head_size_limit(server, over):
    base = b"GET /health HTTP/1.1\r\nHost: a\r\nX: "
    p = Peer(server)
    p.send(base + b"a" * (8192 - len(base) - 4 + over) + b"\r\n\r\n")
    assert p.status() == (431 if over else 200)


@pytest.mark.parametrize("over", [0, 1])
def test_header_count_limit(server, over):
    p = Peer(server)
    p.send(b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(63 + over)) + b"\r\n")
    assert p.status() == (431 if over else 200)


def test_long_target(server):
    p = Peer(server)
    p.send(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert p.status() in (414, 431)


def test_slow_head_is_dropped(server):
    p = Peer(server)
    start = time.monotonic()
    p.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    p.read_all()
    assert time.monotonic() - start < 14   # kHttpHeadMsMax is 5 s; the socket's time-out would be 15 s


def test_frames_right_behind_the_upgrade(server):
    p = Peer(server)
    p.send(upgrade_request() + frame(1, CONNECT))
    assert p.status() == 101
    p.head()
    assert b'"connect"' in p.frame()[1]


@pytest.mark.parametrize("pieces", [0, 1])
def test_everything_in_pieces(server, pieces):
    p = Peer(server)
    p.send(upgrade_request() + frame(1, CONNECT[:10], fin=False) + frame(9, b"in between") + frame(0, CONNECT[10:]), pieces)
    p.head()
    assert p.frame() == (10, b"in between")
    assert b'"connect"' in p.frame()[1]


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("name,data,code", [
    ("unmasked", frame(1, b"{}", mask=False), 1002),
    ("RSV1", frame(1, b"{}", rsv=4), 1002),
    ("RSV2", frame(1, b"{}", rsv=2), 1002),
    ("RSV3", frame(1, b"{}", rsv=1), 1002),
    ("opcode 3", frame(3), 1002),
    ("opcode 7", frame(7), 1002),
    ("opcode 11", frame(11), 1002),
    ("fragmented ping", frame(9, b"x", fin=False), 1002),
    ("long ping", frame(9, b"x" * 126), 1002),
    ("long close", frame(8, struct.pack(">H", 1000) + b"x" * 124), 1002),
    ("continuation of nothing", frame(0, b"x"), 1002),
    ("text inside a message", frame(1, b"a", fin=False) + frame(1, b"b"), 1002),
    ("length not minimal, 16 bit", frame(1, b"{}", length_bytes=2), 1002),
    ("length not minimal, 64 bit", frame(1, b"{}", length_bytes=8), 1002),
    ("length 2^63", frame(1, b"", length=1 << 63, length_bytes=8), (1002, 1009)),
    ("length 2^63-1", frame(1, b"", length=(1 << 63) - 1, length_bytes=8), 1009),
    ("length 2^32", frame(1, b"", length=1 << 32, length_bytes=8), 1009),
    ("before connect 64 KiB + 1", frame(1, b"", length=65537, length_bytes=8), 1009),
    ("close of one byte", frame(8, b"x"), 1002),
    ("close with bad UTF-8", frame(8, struct.pack(">H", 1000) + b"\xff\xfe"), (1002, 1007)),
    *[(f"close code {c}", frame(8, struct.pack(">H", c)), 1002) for c in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
    ("bad UTF-8", frame(1, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"), 1007),
    ("overlong UTF-8", frame(1, b"\xc0\xaf"), 1007),
    ("surrogate", frame(1, b"\xed\xa0\x80"), 1007),
    ("beyond U+10FFFF", frame(1, b"\xf4\x90\x80\x80"), 1007),
    ("UTF-8 cut at the end", frame(1, b"\xe2\x82"), 1007),
    ("UTF-8 broken over fragments", frame(1, b"\xe2", fin=False) + frame(0, b"x"), 1007),
    ("binary", frame(2, b"{}"), 1003),
])
def test_frames_refused(server, name, data, code, pieces):
    p = Peer(server).upgrade()
    p.send(data, pieces)
    got = p.close_code()
    assert got in (code if isinstance(code, tuple) else (code,)), (name, got)
    assert p.read_all() is not None   # and the server closes
    p.s.close()


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_close_is_echoed(server, code):
    p = Peer(server).upgrade()
    p.send(frame(8, struct.pack(">H", code) + b"bye"))
    assert p.close_code() == code
    p.read_all()


def test_empty_close_is_answered(server):
    p = Peer(server).upgrade()
    p.send(frame(8))
    assert p.close_code() in (1000, 1005)


def test_nothing_is_handled_after_a_close(server):
    p = Peer(server).upgrade()
    p.send(frame(8, struct.pack(">H", 1000)) + frame(1, CONNECT))
    assert p.close_code() == 1000
    assert p.frame() is None


@pytest.mark.parametrize("size", [0, 1, 124, 125])
def test_pings_are_answered(server, size):
    p = Peer(server).upgrade()
    p.send(frame(9, b"p" * size))
    assert p.frame() == (10, b"p" * size)


def test_unasked_pong_is_ignored(server):
    p = Peer(server).upgrade()
    p.send(frame(10, b"x") + frame(9, b"y"))
    assert p.frame() == (10, b"y")


def test_ping_flood_without_reading_is_bounded(server):
    before = server.rss_bytes()
    p = Peer(server).upgrade()
    p.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    p.s.settimeout(10)
    flood = frame(9, b"x" * 125) * 500
    try:
        for _ in range(1000):
            p.s.sendall(flood)
    except OSError:
        pass
    assert server.rss_bytes() - before < 64 << 20
    p.s.close()


def test_tiny_fragments_are_bounded(server):
    p = Peer(server).upgrade()
    p.send(frame(1, b"{", fin=False) + frame(0, b" ", fin=False) * 5000)
    assert p.close_code() in (1009, 1002, 1008)


def test_deep_json_and_bad_json(server):
    for text in (b"[" * 100_000, b'{"id":1,"connect":{"data":' + b"[" * 2000 + b"]" * 2000 + b"}}", b'{"id":"x"}', b'{"id":99999999999,"connect":{}}', b"null", b'"x"', b"[]"):
        p = Peer(server).upgrade()
        p.send(frame(1, text[:60_000]))
        assert p.close_code() == 3501, text[:40]
        p.s.close()


def test_message_limits_after_connect(server):
    for over in (0, 1):
        p = Peer(server).upgrade()
        p.send(frame(1, CONNECT))
        assert b'"connect"' in p.frame()[1]
        body = b'{"id":2,"publish":{"channel":"c","data":"' + b"x" * ((1 << 20) - 44 + over) + b'"}}'
        assert len(body) == (1 << 20) + over
        p.send(frame(1, body))
        if over:
            assert p.close_code() == 1009
        else:
            while True:
                f = p.frame()
                assert f is not None and f[0] == 1
                if b'"id":2' in f[1]:
                    assert b'"code":10' in f[1]
                    break
        p.s.close()


def test_half_open_and_reset(server):
    for _ in range(20):
        p = Peer(server)
        p.send(upgrade_request()[:40])
        p.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        p.s.close()
    for _ in range(20):
        p = Peer(server).upgrade()
        p.send(frame(1, CONNECT)[:20])
        p.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        p.s.close()


@pytest.mark.skipif("E2E_SANITIZED" in os.environ, reason="UBSan looks into memory through a pipe, for which no descriptor is left here")
def test_descriptors_run_out(tmp_path):
    """EMFILE: those who are in stay served, and the server takes new ones as soon as it can."""
    import resource
    s = Server(tmp_path, store="memory", loops=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        s.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    import subprocess
    subprocess.run(["prlimit", f"--pid={s.process.pid}", "--nofile=64:64"], check=True)
    first = Peer(s).upgrade()
    crowd = [Peer(s) for _ in range(100)]
    first.send(frame(1, CONNECT))
    assert b'"connect"' in first.frame()[1]
    for p in crowd:
        p.s.close()
    end = time.monotonic() + 10
    while True:
        try:
            if s.http("/health")[0] == 200:
                break
        except OSError:
            pass
        assert time.monotonic() < end
        time.sleep(0.05)
    s.kill()
