"""Run the tests on several Pythons, with the oldest, the pinned and the newest dependencies.

    make matrix                                        # all nine
    build/tools/bin/nox -s "tests-3.12(newest)"        # one of them
    build/tools/bin/nox -s "tests-3.12(newest)" -- tests/models    # and of its tests, some

Each takes about 7 GB under build/nox; Pythons that are not installed are skipped.
"""

import nox

nox.options.envdir = "build/nox"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False

# How versions are chosen between the bounds of pyproject.toml.
VERSIONS = {
    "oldest": ("--resolution", "lowest-direct"),
    "pinned": ("--constraints", "constraints.txt"),
    "newest": ("--resolution", "highest"),
}


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("versions", [nox.param(name, id=name) for name in VERSIONS])
def tests(session: nox.Session, versions: str) -> None:
    """Install miram with dependencies of such versions, and run the tests that are quick."""
    session.env["UV_PYTHON_DOWNLOADS"] = "never"
    session.install(*VERSIONS[versions], "--editable", ".[dev]", "pip>=24")
    quick = ("-m", "not slow and not browser")
    session.run("python", "-m", "pytest", *(session.posargs or quick))
