"""The two sides of a comparison: sources, how they are built, and one private parleyd of each."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
DRIVERS = sorted(p.stem for p in HERE.glob("*.cc"))
SYSTEM_LIBRARIES = ["-luv", "-lwslay", "-lsimdjson", "-ljwt", "-lssl", "-lcrypto", "-lfmt", "-lz", "-lpthread"]


class CannotRun(Exception):
    pass


def sh(*command, **options):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(str(c) for c in command[:6])}… ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


class Side:
    """`source` is a tree with a CMakeLists.txt; it is built as ./dev build does."""

    def __init__(self, name, source):
        self.name, self.source = name, pathlib.Path(source)
        self.build = self.source / "build"
        self.drivers = {}

    def make(self):
        if not (self.build / "build.ninja").exists():
            sh("cmake", "--preset", "release", cwd=self.source)
        sh("cmake", "--build", self.build, "--target", "parleyd", "--", "--quiet", cwd=self.source)
        self.parleyd = self.build / "parleyd"
        archives = [str(a) for a in self.build.rglob("libparley_*.a") if re.search(r"_(proto|core|llhttp)\.a$", a.name)]
        out = self.build / "gate"
        out.mkdir(exist_ok=True)
        for name in DRIVERS:
            try:
                sh("c++", "-std=c++20", "-O2", "-g1", "-DNDEBUG", "-I", self.source, "-I", HERE, HERE / f"{name}.cc", "-o", out / name, "-Wl,--start-group",
                   *archives, "-Wl,--end-group", *SYSTEM_LIBRARIES)
                self.drivers[name] = out / name
            except CannotRun as e:   # an interface has changed: said in its row
                self.drivers[name] = str(e)
        return self

    def serve(self, folder, before=(), environment=None):
        return Server(self, folder, before, environment)


def base_side(ref, folder):
    """`ref` in a git worktree of its own, removed by remove_base()."""
    sh("git", "worktree", "add", "--detach", "--force", folder, ref, cwd=ROOT)
    if (ROOT / "web/dist").is_dir():
        shutil.copytree(ROOT / "web/dist", pathlib.Path(folder) / "web/dist", dirs_exist_ok=True)
    return Side("base", folder)


def remove_base(folder):
    subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, capture_output=True)


class Server:
    """parleyd on a free port with the memory store and one loop; `before` is what it runs under (strace …)."""

    def __init__(self, side, folder, before=(), environment=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
        (self.folder / "parleyd.toml").write_text("[client]\ncommands_per_second = 0\npublishes_per_second = 0\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")} | (environment or {})
        self.process = subprocess.Popen(
            [*before, str(side.parleyd), "--listen", "127.0.0.1:0", "--loops", "1", "--store", "memory", "--token-hmac-secret", "bench",
             "--config", str(self.folder / "parleyd.toml")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self.port = 0
        for line in self.process.stdout:
            if found := re.search(r"listening on http://[^ \"]*:(\d+)", line):
                self.port = int(found.group(1))
                break
        if not self.port:
            raise CannotRun(f"{side.parleyd} does not start")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.pid = self.process.pid
        if before:
            self.pid = int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def url(self):
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        self.process.wait(30)
