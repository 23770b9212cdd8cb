"""What a result came from: the code, its state, the versions it ran with."""

import ast
import hashlib
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_RAW_DATA = ("raw_root", "sources.")  # parameters that stay where they are: docs/privacy.md
_PACKAGES = ("miram", "torch", "timm", "scikit-learn", "pydicom", "kedro", "mlflow")

TRAINING_CODE = ("models", "training")
FEATURE_CODE = ("models", "evaluation/features")


def command_line() -> str:
    """The command at hand, without the run-time parameters that name raw data."""
    return shlex.join([Path(sys.argv[0]).name, *map(_without_raw_data, sys.argv[1:])])


def _without_raw_data(word: str) -> str:
    option, equals, given = word.rpartition("--params=")
    kept = [part for part in given.split(",") if not part.strip().startswith(_RAW_DATA)]
    return f"{option}{equals}{','.join(kept)}"


@cache
def git_commit() -> str:
    """The commit of the checkout, with `-dirty` where files differ; empty outside one."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


@cache
def code_digest(*packages: str, root: Path = Path(__file__).parent) -> str:
    """Digest of what packages do: comments, layout and docstrings do not count.

    Trained weights depend on `TRAINING_CODE`, features on `FEATURE_CODE`.
    """
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            digest.update(f"{path.relative_to(root)}: {_without_docstrings(tree)}\n".encode())
    return digest.hexdigest()


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
