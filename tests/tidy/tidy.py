#!/usr/bin/env python3
"""The house rules as a test: who may include whom, no file without its opening sentence, no banned words."""
import pathlib
import re
import sys

FOLDERS = ("core", "proto", "broker", "store", "chat", "server", "loadgen")

# Headers of core that know no libuv and no thread: parsers and the chat domain may see them.
CORE_LEAF = {"assert", "bytes", "clock", "end_reason", "err", "frame", "hash", "limits", "metrics", "uuid"}
CORE_SEAM = {"post", "timer_wheel", "log"}

# Which folder may include which: the one table of the house plan.
ALLOWED = {
    "core": {"core"},
    "proto": {"proto", "core:leaf"},
    "store": {"store", "core"},
    "broker": {"broker", "store", "core"},
    "chat": {"chat", "proto", "core:leaf", "core:seam", "broker/broker.h", "store/store.h", "store/publication.h"},
    "server": {"server", "chat", "broker", "store", "proto", "core"},
    "loadgen": {"loadgen", "proto", "core"},
}

# A library's header appears in one adapter per library (uv.h is the reactor's own).
THIRD_PARTY = {
    r"^uv\.h$": {"core"},
    r"^(wslay|llhttp|jwt)": {"proto"},
    r"^simdjson": {"proto", "loadgen"},
    r"^sqlite3\.h$": {"store"},
    r"^CLI/": {"server", "loadgen"},
    r"^prometheus/": {"server"},
    r"^toml\+\+/": {"core", "loadgen"},
    r"^openssl/": {"core", "proto", "broker"},
    r"^hiredis/": {"broker"},
    r"^(mongoc|bson)/": {"store"},
    r"^zlib\.h$": {"store", "server", "loadgen"},
}

BANNED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
LINES_MAX = 800


def is_allowed(folder, include):
    target, _, rest = include.partition("/")
    stem = rest.removesuffix(".h")
    for rule in ALLOWED[folder]:
        if rule == include or rule == target:
            return True
        if rule == "core:leaf" and target == "core" and stem in CORE_LEAF:
            return True
        if rule == "core:seam" and target == "core" and stem in CORE_SEAM:
            return True
    return False


def check(root, path):
    folder = path.relative_to(root).parts[0]
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("//"):
        yield 1, "a file opens with a comment that says what it holds"
    if len(lines) > LINES_MAX:
        yield len(lines), f"longer than {LINES_MAX} lines: look for the concept that wants a file of its own"
    for number, line in enumerate(lines, 1):
        if BANNED.search(line):
            yield number, "unfinished business: " + line.strip()
        quoted = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        angled = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        if quoted:
            include = quoted.group(1)
            if include.split("/")[0] not in FOLDERS:
                yield number, f'"{include}" is not rooted at a folder of the house'
            elif not is_allowed(folder, include):
                yield number, f"{folder}/ may not include {include}"
        if angled:
            for pattern, folders in THIRD_PARTY.items():
                if re.match(pattern, angled.group(1)) and folder not in folders:
                    yield number, f"<{angled.group(1)}> belongs to {', '.join(sorted(folders))}/"


def self_test(root):
    """A rule that cannot fail is a defect: each kind of violation is found in a made-up file."""
    sample = root / "chat" / "sample.cc"

    class fake:
        def __init__(self, text):
            self.text = text

        def relative_to(self, _):
            return sample.relative_to(root)

        def read_text(self, encoding):
            return self.text

    cases = {
        "// a\n#include \"core/loop.h\"\n": "may not include",
        "// a\n#include <uv.h>\n": "belongs to",
        "// a\n// TO" + "DO: x\n": "unfinished",
        "int x;\n": "opens with",
        "// a\n#include \"frame.h\"\n": "not rooted",
    }
    for text, expected in cases.items():
        found = [what for _, what in check(root, fake(text))]
        assert any(expected in what for what in found), (text, found)
    assert not list(check(root, fake("// a\n#include \"core/frame.h\"\n#include \"broker/broker.h\"\n")))


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    self_test(root)
    problems = 0
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.[ch]*")):
            if path.suffix not in (".h", ".cc"):
                continue
            for line, what in check(root, path):
                print(f"{path.relative_to(root)}:{line}: {what}")
                problems += 1
        if (root / folder).is_dir() and not (root / folder / "README.md").exists():
            print(f"{folder}/README.md is missing: what lives here, what it may include, where to start")
            problems += 1
    print(f"tidy: {problems} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
