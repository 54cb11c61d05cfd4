#!/usr/bin/env python3
"""docker/, compose/, .example_env, ./dev and docs/CONFIG.md agree: packages, settings, defaults, what each variable is called."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Settings that are no business of .env: secrets, and what the stack itself decides.
ELSEWHERE = {"PARLEY_CONFIG", "PARLEY_LISTEN", "PARLEY_INSECURE_DEV", "PARLEY_STORE", "PARLEY_SPOOL_DIR", "PARLEY_BROKER",
             "PARLEY_TOKEN_HMAC_SECRET", "PARLEY_SUBSCRIPTION_TOKEN_HMAC_SECRET", "PARLEY_API_KEY"}
# Variables of the stack that begin like settings.
OF_THE_STACK = {"PARLEY_SECRETS", "PARLEY_REPLICAS", "PARLEY_BIND", "PARLEY_PORT", "PARLEY_MEMORY", "PARLEY_CPUS"}


def packages():
    """The Dockerfile has a list of its own, so that a change of ./dev does not install everything again."""
    listed = re.search(r"^packages_build=\((.*?)\)", (ROOT / "dev").read_text(), re.M | re.S).group(1)
    wanted = [name.strip("'").split("|")[0] for name in listed.split()]
    first = re.search(r"install -y -qq --no-install-recommends (.*?) &&", (ROOT / "docker/Dockerfile").read_text(), re.S).group(1)
    has = first.replace("\\", " ").split()
    for name in sorted(set(wanted) ^ set(has)):
        yield f"docker/Dockerfile and packages_build of ./dev: {name} is in one only"


def main():
    problems = list(packages())
    config = re.findall(r"^\| `[a-z_.]+` \|[^|]*\| `(PARLEY_\w+)` \|", (ROOT / "docs/CONFIG.md").read_text(), re.M)
    wanted = [name for name in config if name not in ELSEWHERE]
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".example_env").read_text(), re.M))
    used = set()
    for path in sorted((ROOT / "compose").glob("*.yaml")):
        text = path.read_text()
        passed = re.findall(r"^  (PARLEY_\w+):$", text, re.M)
        if "x-settings" in text and passed != wanted:
            problems += [f"{path.name}: {name} of docs/CONFIG.md is missing" for name in wanted if name not in passed]
            problems += [f"{path.name}: {name} is not in docs/CONFIG.md, or not in its order" for name in passed if name not in wanted] or ["another order"]
        for name, default in re.findall(r"\$\{(\w+):-([^{}]*)\}", text):
            used.add(name)
            if name in example and example[name] != default:
                problems.append(f"{path.name}: the default of {name} is {default}, in .example_env {example[name]}")
    for name in example:
        if name not in used | set(wanted) | {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "PARLEY_SECRETS"}:
            problems.append(f".example_env: nothing reads {name}")
        if name.startswith("PARLEY_") and name not in OF_THE_STACK and name not in wanted:
            problems.append(f".example_env: {name} is no setting")
    for name in example["COMPOSE_FILE"].split(":"):
        if not (ROOT / name).exists():
            problems.append(f".example_env: there is no {name}")
    if example["PARLEY_SECRETS"]:
        problems.append(".example_env: a place of secrets that works by itself")
    print("\n".join(problems) or f"{len(wanted)} settings and {len(used)} variables agree")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
