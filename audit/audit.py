"""Audit what is installed for miram at run time: pins, licenses, known faults, and our own code.

    make audit

Writes `NOTICE`, the packages with their licenses; `dist/`, the wheel with its parts list
(CycloneDX) and the texts of all licenses; and `docs/trust/audit.json`, what was found. It ends
with 1 where something has to be mended.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
# What a user may install; tools for developers and for the documentation are not passed on.
EXTRAS = ("distributed", "export")

REFUSED = re.compile(
    r"\bA?GPL|GNU General|Affero|\bNC\b|Non-?Commercial|Commons Clause|\bSSPL|\bBUSL", re.I
)
WEAK_COPYLEFT = re.compile(r"\bMPL|Mozilla|\bLGPL|Lesser General|\bEPL|Eclipse|\bCDDL", re.I)
PERMISSIVE = re.compile(
    r"\bMIT\b|\bBSD\b|Apache|\bISC\b|\bPSF|Python Software Foundation|Public Domain", re.I
)


class Explained(NamedTuple):
    """A declared license that a program cannot judge, and the one that was found by reading."""

    declared: str
    license: str


_NVIDIA = "NVIDIA proprietary, free of charge"
EXPLAINED = {
    "cookiecutter": Explained("UNKNOWN", "BSD-3-Clause"),
    "cuda-toolkit": Explained("UNKNOWN", _NVIDIA),
    "huey": Explained("UNKNOWN", "MIT"),
    "skops": Explained("UNKNOWN", "MIT"),
    # The user chooses one of the two.
    "text-unidecode": Explained(
        "Artistic License; GNU General Public License (GPL); "
        "GNU General Public License v2 or later (GPLv2+)",
        "Artistic-1.0-Perl",
    ),
    "nvidia-cusparselt-cu13": Explained("NVIDIA Proprietary Software", _NVIDIA),
}


class Package(NamedTuple):
    """An installed package."""

    name: str
    version: str
    license: str
    page: str


class Finding(NamedTuple):
    """One row of the result."""

    what: str
    tried: int
    outcome: str
    mend: list[str]  # empty where all is well


def needed(requirements: Iterable[str]) -> dict[str, str]:
    """Names and versions of what is installed for some requirements, and for theirs."""
    found: dict[str, set[str]] = {}
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - found.get(name, set())
        if not new:
            continue
        found.setdefault(name, set()).update(new)
        for text in distribution(name).requires or ():
            needs = Requirement(text)
            marker = needs.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in new):
                todo.append(needs)
    return {name: distribution(name).version for name in sorted(found)}


def pinned(text: str) -> dict[str, str]:
    """Names and versions in a file of constraints."""
    pairs = [line.split("==") for line in text.splitlines() if "==" in line]
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def check_pins(packages: dict[str, str], pins: dict[str, str]) -> Finding:
    """Whether every package has the version of `constraints.txt`."""
    wrong = [
        f"{name} {version} is installed, constraints.txt says {pins.get(name, 'nothing')}"
        for name, version in packages.items()
        if pins.get(name) != version.partition("+")[0]  # torch has +cpu where it has no CUDA
    ]
    outcome = f"{len(packages) - len(wrong)} have the version of constraints.txt"
    return Finding("packages installed at run time, pinned", len(packages), outcome, wrong)


def assessed(package: Package) -> tuple[str, str]:
    """The license of a package as it is meant, and whether it may be used.

    Returns:
        The license, and one of `permissive`, `weak copyleft`, `NVIDIA`, `refused`, `unknown`.
    """
    explained = EXPLAINED.get(canonicalize_name(package.name))
    meant = package.license
    if explained and explained.declared == package.license:
        meant = explained.license
    elif meant == "LicenseRef-NVIDIA-Proprietary":
        meant = _NVIDIA
    if meant == _NVIDIA:
        return meant, "NVIDIA"
    if REFUSED.search(meant):
        return meant, "refused"
    if WEAK_COPYLEFT.search(meant):
        return meant, "weak copyleft"
    if PERMISSIVE.search(meant) or meant == "Artistic-1.0-Perl":
        return meant, "permissive"
    return meant, "unknown"


def check_licenses(packages: list[Package]) -> Finding:
    """Whether all licenses allow what a hospital or a company does with software."""
    kinds: dict[str, list[str]] = {}
    wrong = []
    for package in packages:
        meant, kind = assessed(package)
        kinds.setdefault(kind, []).append(package.name)
        if kind in ("refused", "unknown"):
            wrong.append(
                f"{package.name} {package.version} has the license {meant!r}: do without it, or "
                "read its license file and name it in EXPLAINED of audit/audit.py"
            )
    counts = [f"{len(names)} {kind}" for kind, names in sorted(kinds.items())]
    weak = ", ".join(kinds.get("weak copyleft", []))
    outcome = ", ".join(counts) + (f" ({weak})" if weak else "")
    return Finding("licenses of packages at run time", len(packages), outcome, wrong)


def notice(packages: list[Package]) -> str:
    """The text of `NOTICE`."""
    rows = [f"{one.name} {one.version}: {assessed(one)[0]}. {one.page}".strip() for one in packages]
    return "\n".join(
        [
            "miram",
            "",
            "Licensed under the Apache License, Version 2.0; see LICENSE.",
            "",
            "miram contains none of the packages below; pip installs them beside it, and each",
            "brings its own license. Whoever passes them on, in a container for instance, passes",
            "on their licenses, too. Written by `make audit` on Linux with CUDA.",
            "",
            *rows,
            "",
        ]
    )


def check_vulnerabilities(packages: dict[str, str], tools: Path) -> Finding:
    """Ask the package index for known vulnerabilities, where it answers."""
    what = "packages asked for known vulnerabilities"
    text = "".join(f"{name}=={version}\n" for name, version in packages.items())
    listed = PROJECT / "build/runtime.txt"
    listed.write_text(text)
    run = subprocess.run(
        [
            *(tools / "pip-audit", "--requirement", listed, "--no-deps", "--disable-pip"),
            *("--format=json", "--progress-spinner=off", "--timeout=10"),
        ],
        capture_output=True,
        text=True,
    )
    try:
        answers = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError):
        answers = []
    known = [answer for answer in answers if "skip_reason" not in answer]
    if not known:
        return Finding(what, 0, "not checked: the vulnerability service does not answer here", [])
    wrong = [
        f"{answer['name']} {answer['version']} has {fault['id']}: mended in "
        f"{', '.join(fault['fix_versions']) or 'no version yet'}"
        for answer in known
        for fault in answer["vulns"]
    ]
    outcome = f"{len(wrong)} known; {len(packages) - len(known)} not in the index"
    return Finding(what, len(known), outcome, wrong)


def write_parts_list(packages: dict[str, str], tools: Path, wheel: Path) -> Finding:
    """Write the CycloneDX list of what the wheel needs at run time, beside the wheel."""
    run = subprocess.run(
        [
            *(tools / "cyclonedx-py", "environment", "--pyproject", PROJECT / "pyproject.toml"),
            *("--output-reproducible", "--short-PURLs", sys.executable),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    bill = json.loads(run.stdout)
    kept = [one for one in bill["components"] if canonicalize_name(one["name"]) in set(packages)]
    refs = {"root-component", *(one["bom-ref"] for one in kept)}
    bill["components"] = kept
    bill["dependencies"] = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", []) if ref in refs]}
        for one in bill["dependencies"]
        if one["ref"] in refs
    ]
    path = wheel.with_suffix(".cdx.json")
    path.write_text(json.dumps(bill, indent=1) + "\n")
    missing = set(packages) - {canonicalize_name(one["name"]) for one in kept}
    wrong = [f"{name} is missing in {path.name}" for name in sorted(missing)]
    outcome = f"{len(kept)} listed beside the wheel, in CycloneDX {bill['specVersion']}"
    return Finding("packages in the parts list (SBOM)", len(packages), outcome, wrong)


def check_code(tools: Path) -> Finding:
    """Look for unsafe calls in our own code."""
    run = subprocess.run(
        [tools / "bandit", "-q", "-r", "src/miram", "-c", "pyproject.toml", "-f", "json"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    report = json.loads(run.stdout)
    total = report["metrics"]["_totals"]
    wrong = [
        f"{one['filename']}:{one['line_number']} {one['test_id']} {one['issue_text']}"
        for one in report["results"]
    ]
    outcome = f"{len(wrong)} findings by bandit; {total['skipped_tests']} lines explained in place"
    return Finding("lines of src/miram searched for unsafe calls", total["loc"], outcome, wrong)


def installed_licenses(packages: dict[str, str], tools: Path) -> list[Package]:
    """What the packages declare, their texts in `dist/licenses.txt`."""
    base = [tools / "pip-licenses", f"--python={sys.executable}", "--with-system", "--with-urls"]
    base += ["--packages", *packages]
    texts = ["--format=plain-vertical", "--with-license-file", "--no-license-path"]
    texts += ["--output-file", PROJECT / "dist/licenses.txt"]
    subprocess.run([*base, *texts], check=True, capture_output=True)
    run = subprocess.run([*base, "--format=json"], check=True, capture_output=True, text=True)
    found = {
        canonicalize_name(row["Name"]): Package(
            row["Name"], row["Version"], row["License"], row["URL"].replace("UNKNOWN", "")
        )
        for row in json.loads(run.stdout)
    }
    return [found[name] for name in packages]


def built_wheel() -> Path:
    """Build the wheel into `dist`."""
    folder = PROJECT / "dist"
    # setuptools would take modules from there that are no longer in the source.
    shutil.rmtree(PROJECT / "build/lib", ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", folder, PROJECT]
    subprocess.run(command, check=True)
    return max(folder.glob("miram-*.whl"), key=lambda path: path.stat().st_mtime)


def main() -> int:
    """Run all checks; write what they find."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tools", type=Path, required=True, help="folder of pip-licenses and co.")
    tools = parser.parse_args().tools.absolute()
    project: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    extras = [text for extra in EXTRAS for text in optional[extra]]
    try:
        packages = needed([*project["dependencies"], *extras])
    except PackageNotFoundError as error:
        print(f"{error}: install miram with its extras first, as `make test` does")
        return 1
    wheel = built_wheel()
    licenses = installed_licenses(packages, tools)
    (PROJECT / "NOTICE").write_text(notice(licenses))
    findings = [
        check_pins(packages, pinned((PROJECT / "constraints.txt").read_text())),
        check_licenses(licenses),
        check_vulnerabilities(packages, tools),
        write_parts_list(packages, tools, wheel),
        check_code(tools),
    ]
    rows = [
        {"what": one.what, "tried": one.tried, "outcome": one.outcome, "command": "make audit"}
        for one in findings
    ]
    result = json.dumps({"rows": rows}, indent=1) + "\n"
    (PROJECT / "docs/trust/audit.json").write_text(result)
    for one in findings:
        print(f"{one.what}: {one.tried}; {one.outcome}")
        print("".join(f"  {line}\n" for line in one.mend), end="")
    return int(any(one.mend for one in findings))


if __name__ == "__main__":
    sys.exit(main())
