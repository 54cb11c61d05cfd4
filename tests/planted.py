"""A copy of this tree to plant bugs in, for what proves that a test or a gate can fail."""
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def copy_of(folder):
    """What git knows and what it does not ignore, changed or not, and the fetched parts of the page."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    if (ROOT / "web/dist").is_dir():
        shutil.copytree(ROOT / "web/dist", folder / "web/dist", dirs_exist_ok=True)
    return folder


class planted:
    """with planted(copy, name, file, there, instead): the bug is in; behind it the file is as it was."""

    def __init__(self, copy, name, file, there, instead):
        self.path, self.source = copy / file, (copy / file).read_text()
        if self.source.count(there) != 1:
            sys.exit(f"{name}: the place in {file} is there {self.source.count(there)} times, not once: change the plant with the code")
        self.text = self.source.replace(there, instead)

    def __enter__(self):
        self.path.write_text(self.text)

    def __exit__(self, *_):
        self.path.write_text(self.source)
