"""Point the real clients of this process, or of another, at a Hub that is not the public one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def environment(url: str, token: str | None, home: Path) -> dict[str, str]:
    """Return the environment of a process that talks to this Hub alone: the clients read it when they are imported."""
    proxies = PROXIES if "127.0.0.1" in url else ()
    dropped = (*proxies, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN_PATH")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    env |= {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    return env if token is None else {**env, "HF_TOKEN": token}


def point_clients(patch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    """Set in this process all that huggingface_hub and datasets took from the environment at import.

    The token is not set here: the clients read HF_TOKEN at each call (`login`).
    """
    import datasets.config
    import huggingface_hub
    from huggingface_hub import constants, hf_api, hf_file_system
    from huggingface_hub.utils import _cache_manager, _detect_agent

    for name in PROXIES if "127.0.0.1" in url else ():
        patch.delenv(name, raising=False)
    for name in ("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_XET"):
        patch.setenv(name, environment(url, None, home)[name])  # for the processes that a test starts
    values = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(home / "agents.json"),
    }
    for name, value in values.items():
        patch.setattr(constants, name, value)
    patch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "progress_bar_states", {"_global": False})
    patch.setattr(_cache_manager, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(_detect_agent, "_registry", _detect_agent._EMPTY_REGISTRY)
    patch.setattr(hf_api.api, "endpoint", url)  # behind huggingface_hub.create_repo and the other functions
    patch.setattr(hf_api.api, "_whoami_cache", {})
    patch.setattr(hf_file_system.hffs, "endpoint", url)
    patch.setattr(hf_file_system.hffs, "_api", huggingface_hub.HfApi(endpoint=url))
    values = {
        "HF_ENDPOINT": url,
        "HUB_DATASETS_URL": url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,  # asks another host
        "HF_CACHE_HOME": str(home),
        "HF_DATASETS_CACHE": home / "datasets",
        "DOWNLOADED_DATASETS_PATH": home / "datasets" / "downloads",
        "EXTRACTED_DATASETS_PATH": home / "datasets" / "downloads" / "extracted",
    }
    for name, value in values.items():
        patch.setattr(datasets.config, name, value)
    forget_connections()


def forget_connections() -> None:
    """Drop what the clients keep between calls: connections, file systems with their listings."""
    from huggingface_hub import HfFileSystem, close_session
    from huggingface_hub.hf_file_system import hffs

    close_session()
    HfFileSystem.clear_instance_cache()
    hffs.invalidate_cache()


def login(patch: pytest.MonkeyPatch, token: str | None) -> None:
    """Log this process in, or out."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


class NoNaps:
    """Stands in for the `time` module of the clients' retries: notes each sleep instead of sleeping."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)

    def __getattr__(self, name: str):
        return getattr(time, name)


def shorten_retries(patch: pytest.MonkeyPatch) -> NoNaps:
    """Let the clients retry at once; return the record of the pauses they would have made."""
    import datasets.utils.file_utils
    import huggingface_hub.file_download
    from huggingface_hub.utils import _http

    naps = NoNaps()
    for module in (_http, huggingface_hub.file_download, datasets.utils.file_utils):
        patch.setattr(module, "time", naps)
    return naps
