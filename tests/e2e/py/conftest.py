"""Fixtures: a private parleyd per test or module, a raw WebSocket client, tokens."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from parleyd import Server  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("parleyd"))
    s.start()
    yield s
    s.kill()


@pytest.fixture
def own_server(tmp_path):
    s = Server(tmp_path)
    yield s
    s.kill()
