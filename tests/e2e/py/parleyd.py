"""Starts and ends a private parleyd, makes tokens, speaks the protocol without an SDK."""
import asyncio
import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("PARLEYD_BIN", str(ROOT / "build" / "parleyd"))
SECRET = "e2e-secret"
API_KEY = "e2e-api-key"
DEADLINE_S = 20


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: dict, key: str = SECRET) -> str:
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = f"{head}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(hmac.new(key.encode(), body.encode(), hashlib.sha256).digest())}"


def channel_name(prefix: str = "c") -> str:
    return prefix + uuid.uuid4().hex[:10]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One parleyd on its own folder. The same object can be killed and started again on the same port and data."""

    def __init__(self, folder, toml: str = "", args=(), loops: int = 2, store: str = ""):
        self.folder = pathlib.Path(folder)
        self.toml = toml
        self.args = list(args)
        self.loops = loops
        self.store = store or f"sqlite:{self.folder}/parley.sqlite"
        self.port = 0
        self.process = None
        self.lines: list[str] = []

    def start(self):
        command = [BINARY, "--listen", f"127.0.0.1:{self.port}", "--loops", str(self.loops), "--store", self.store,
                   "--token-hmac-secret", SECRET, "--api-key", API_KEY, "--log-level", "debug", *self.args]
        if self.toml:
            (self.folder / "parley.toml").write_text(self.toml)
            command += ["--config", str(self.folder / "parley.toml")]
        # PARLEY_… of the tests themselves (PARLEY_CRASH_KILLS) are no settings, and those of the machine would change the server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="replace")
        listening = threading.Event()
        process = self.process

        def read():
            for line in process.stdout:
                self.lines.append(line.rstrip())
                found = re.search(r"listening on http://[^ \"]*:(\d+)", line)
                if found:
                    self.port = int(found.group(1))
                    listening.set()
            listening.set()

        self.reading = threading.Thread(target=read, daemon=True)
        self.reading.start()
        assert listening.wait(DEADLINE_S), self.lines
        assert self.process.poll() is None, "parleyd ended:\n" + "\n".join(self.lines[-20:])
        return self

    def kill(self, how: int = signal.SIGKILL) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        self.reading.join(DEADLINE_S)
        reports = [i for i, line in enumerate(self.lines) if "Sanitizer" in line or "runtime error:" in line]
        told = [line for line in self.lines if SECRET in line or API_KEY in line or re.search(r"eyJ[A-Za-z0-9_-]{8}", line)]
        assert not told, "a secret is in the log: " + told[0]
        assert not reports, "a sanitizer's report:\n" + "\n".join(self.lines[reports[0]:reports[0] + 40])
        return code

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    def http(self, path: str, body=None, headers=None, method=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def api(self, method: str, body: dict):
        status, text = self.http(f"/api/{method}", json.dumps(body).encode(), {"X-API-Key": API_KEY, "Content-Type": "application/json"})
        assert status == 200, (status, text)
        return json.loads(text)

    def metric(self, name: str, labels: str = "") -> float:
        """Sum of all samples of that name whose label text contains `labels`."""
        total = 0.0
        for line in self.http("/metrics")[1].splitlines():
            if re.match(re.escape(name) + r"[{ ]", line) and labels in line:
                total += float(line.rsplit(" ", 1)[1])
        return total

    def rss_bytes(self) -> int:
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


class Wire:
    """A WebSocket that speaks the protocol's JSON lines. Pushes are handed to on_push."""

    def __init__(self, on_push=None):
        self.on_push = on_push or (lambda push: None)
        self.waiting: dict[int, asyncio.Future] = {}
        self.last_id = 0
        self.ws = None
        self.reader = None
        self.closed = None

    async def open(self, url: str, **options):
        self.ws = await websockets.connect(url, max_size=None, ping_interval=None, compression=None, **options)
        self.closed = asyncio.get_running_loop().create_future()
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self):
        try:
            async for message in self.ws:
                for line in message.split("\n"):
                    value = json.loads(line)
                    if not value:
                        await self.ws.send("{}")
                    elif value.get("id"):
                        future = self.waiting.pop(value["id"], None)
                        if future and not future.done():
                            future.set_result(value)
                    else:
                        self.on_push(value["push"])
        except websockets.ConnectionClosed:
            pass
        finally:
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("closed"))
            self.waiting.clear()
            if not self.closed.done():
                self.closed.set_result((self.ws.close_code, self.ws.close_reason))

    def post(self, **command) -> asyncio.Future:
        """Queues a command; the future gives its reply, or ConnectionError."""
        self.last_id += 1
        future = asyncio.get_running_loop().create_future()
        if self.closed.done():
            future.set_exception(ConnectionError("closed"))
            return future
        self.waiting[self.last_id] = future
        asyncio.ensure_future(self._send(json.dumps({"id": self.last_id, **command}), future))
        return future

    async def _send(self, text: str, future):
        try:
            await self.ws.send(text)
        except websockets.ConnectionClosed:
            if not future.done():
                future.set_exception(ConnectionError("closed"))

    async def call(self, **command) -> dict:
        return await asyncio.wait_for(self.post(**command), DEADLINE_S)

    async def connect(self, user: str, **claims) -> dict:
        reply = await self.call(connect={"token": token({"sub": user, **claims})})
        assert "connect" in reply, reply
        return reply["connect"]

    async def close(self):
        await self.ws.close()
        await asyncio.wait_for(self.reader, DEADLINE_S)


async def until(condition, what: str, seconds: float = DEADLINE_S):
    """Waits for an event that only shows in a state (a metric, a file); polls, bounded."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"never came: {what}"
        await asyncio.sleep(0.02)
