"""The house itself: imports point down, each outside library has its owners, the face loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hf_select

PACKAGE = Path(hf_select.__file__).parent
# From the ground up. A room may import from rooms before it, and from rooms of its own name.
FLOORS = (
    "errors",
    "rows",
    "mapped",
    "parts",
    "readers",
    "joining",
    "columns",
    "counts",
    "splits",
    "compare",
    "budget",
    "storage",
    "matching",
    "selection",
    "choice",
    "clustering",
    "sound",
    "audio",
    "transforms",
    "subgroups",
    "methods",
    "testing",
    "metrics",
    "models",
    "gradients",
    "scoring",
    "training",
    "trimming",
    "check_report",
    "check",
    "report",
    "shopping",
    "sweep",
    "sources",
    "metadata",
    "export",
    "hub",
    "prune",
    "demo",
    "tasks",
    "cli",
    "__main__",
)
OWNERS = {  # outside library -> rooms that may import it
    "soundfile": {"audio", "sound"},
    "soxr": {"audio", "sound", "demo"},
    "torchcodec": {"audio", "sound"},
    "librosa": {"transforms"},
    "torchaudio": {"transforms"},
    "huggingface_hub": {"cli", "hub", "sound"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "markupsafe": {"hub", "report"},
    "yaml": {"hub", "tasks"},
    "umap": {"clustering"},
    "sklearn": {"clustering", "report"},
    "scipy": {"clustering", "compare", "report", "subgroups", "transforms"},
    "faiss": {"clustering"},
    "numba": {"subgroups"},
    "llvmlite": {"subgroups"},
    "typer": {"cli"},
    "transformers": {"trimming", "models", "demo", "scoring", "tasks", "training", "transforms"},
    "torch": {"trimming", "models", "gradients", "demo", "scoring", "tasks", "training", "transforms"},
    "accelerate": {"scoring", "training"},
    "evaluate": {"metrics"},
    "jiwer": {"scoring"},
    "espeakng_loader": {"demo"},
}
FILES = sorted(PACKAGE.rglob("*.py"), key=lambda path: path.parent != PACKAGE or path.name != "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("path", FILES[1:], ids=lambda p: str(p.relative_to(PACKAGE)))  # the face names every room
def test_imports_point_down(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "hf_select" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != room(path):
            assert FLOORS.index(parts[1]) < FLOORS.index(room(path)), f"{path.name} imports {name} from above"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_outside_libraries_have_owners(path):
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or room(path) in owners, f"{path.name} imports {name}; its owners are {owners}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_unpickled_nor_run(path):
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    banned = {
        "pickle.load",
        "dill.load",
        "dill.loads",
        "joblib.load",
        "torch.load",
        "eval",
        "exec",
        "np.load",
        "os.system",
    }
    if room(path) != "testing":
        banned |= {"pickle.loads"}
    assert not calls & banned


def test_the_face_loads_nothing_heavy():
    program = "import sys, hf_select; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for name in (
        "torch",
        "datasets",
        "huggingface_hub",
        "librosa",
        "numpy",
        "pyarrow",
        "umap",
        "evaluate",
        "transformers",
        "sklearn",
    ):
        assert f"'{name}'" not in loaded


def test_help_loads_nothing_heavy():
    program = "import sys, hf_select.cli; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for name in ("torch", "datasets", "huggingface_hub", "librosa", "numpy", "pyarrow"):
        assert f"'{name}'" not in loaded


def test_every_name_of_the_face_is_there():
    assert sorted(hf_select.__all__) == sorted(hf_select._HOME)
    for name in hf_select.__all__:
        assert getattr(hf_select, name).__doc__
        assert name in dir(hf_select)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hf_select.nothing  # noqa: B018
