"""Fixtures of the tests that talk to a Hub.

`hub`         a loopback Hub of its own for each test, with this process's clients pointed at it and logged in to write
`quick`       that Hub, and a dataset so small, with waiting so short, that a test can publish it hundreds of times
`naps`        no waiting between the clients' retries; naps.asked lists the pauses
`either_hub`  the same test on the loopback Hub and, when HF_SELECT_TEST_TOKEN (a write token) and HF_SELECT_TEST_NAMESPACE
              (a user or organization it may write to) are set, on the public Hub too:

                  HF_SELECT_TEST_TOKEN=hf_... HF_SELECT_TEST_NAMESPACE=me python -m pytest tests/hub

              Repositories come from `either_hub.name("short")`; on the public Hub they are deleted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .real import REAL, RealHub
from .server import Hub
from .tiny import be_patient, make_quick
from .wiring import NoNaps, environment, forget_connections, login, point_clients, shorten_retries

OLD_UPLOAD = "ignore:Use 'content=:DeprecationWarning"  # huggingface_hub's upload without xet, to its own httpx2


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let tests with a Hub pass over the one warning that the clients give themselves."""
    if {"hub", "either_hub"} & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.filterwarnings(OLD_UPLOAD))


class WiredHub(Hub):
    """A Hub that this process is pointed at."""

    home: Path
    login: Callable[[str], None]  # changes this process's token, by kind

    def name(self, short: str) -> str:
        """Return the full name of a repository of the logged-in user."""
        return f"me/{short}"

    def env(self, kind: str = "write", home: Path | None = None) -> dict[str, str]:
        """Return the environment for another process that talks to this Hub."""
        return environment(self.url, self.token(kind), home or self.home)


def _wire(hub, patch: pytest.MonkeyPatch, home: Path) -> None:
    point_clients(patch, hub.url, home)
    hub.home, hub.login = home, lambda kind: login(patch, hub.token(kind))
    hub.login("write")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WiredHub]:
    """Start a Hub of the test's own; at the end nothing of it is left, and it must not have failed itself."""
    with WiredHub() as hub:
        _wire(hub, monkeypatch, tmp_path / "home")
        yield hub
        forget_connections()
    assert not hub.crashes, "\n".join(hub.crashes)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> NoNaps:
    return shorten_retries(monkeypatch)


@pytest.fixture
def quick(hub, naps, monkeypatch: pytest.MonkeyPatch) -> WiredHub:
    """Give a Hub that is published to hundreds of times in a test."""
    make_quick(monkeypatch)
    be_patient(monkeypatch, naps, 20)
    return hub


@pytest.fixture(params=["loopback", "public"] if REAL else ["loopback"])
def either_hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    if request.param == "loopback":
        yield request.getfixturevalue("hub")
        return
    hub = RealHub()
    _wire(hub, monkeypatch, tmp_path / "home")
    hub.env = lambda kind="write", home=None: environment(hub.url, hub.token(kind), home or hub.home)
    yield hub
    hub.close()
    forget_connections()
