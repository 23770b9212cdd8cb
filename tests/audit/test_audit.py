"""What `make audit` calls good, and that what it wrote belongs to the pinned versions."""

import importlib.util
import json

import pytest
from project_paths import PROJECT

_SPEC = importlib.util.spec_from_file_location("audit", PROJECT / "audit/audit.py")
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)


def package(license_text, name="somewhat"):
    return audit.Package(name, "1.0", license_text, "")


@pytest.mark.parametrize(
    ("license_text", "kind"),
    [
        ("MIT", "permissive"),
        ("Apache-2.0 OR BSD-2-Clause", "permissive"),
        ("MPL-2.0 AND MIT", "weak copyleft"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "weak copyleft"),
        ("GPL-3.0-only", "refused"),
        ("GNU General Public License v2 or later (GPLv2+)", "refused"),
        ("GNU Affero General Public License v3", "refused"),
        ("AGPL-3.0-or-later", "refused"),
        ("CC-BY-NC-4.0", "refused"),
        ("MIT with Commons Clause", "refused"),
        ("UNKNOWN", "unknown"),
        ("Proprietary Limited License, permitted for evaluation", "unknown"),
    ],
)
def test_a_license_is_judged_by_what_it_asks(license_text, kind):
    assert audit.assessed(package(license_text))[1] == kind


def test_a_refused_or_unknown_license_has_to_be_mended_and_names_the_package():
    finding = audit.check_licenses([package("MIT", "a"), package("AGPL-3.0", "b")])
    assert len(finding.mend) == 1 and finding.mend[0].startswith("b 1.0 has the license 'AGPL-3.0'")


def test_an_explanation_holds_only_for_the_license_that_was_read():
    name = "text-unidecode"
    assert audit.assessed(package(audit.EXPLAINED[name].declared, name))[1] == "permissive"
    assert audit.assessed(package("GPL-2.0-only", name))[1] == "refused"


def test_a_package_of_another_version_than_pinned_has_to_be_mended():
    finding = audit.check_pins(
        {"a": "1.0", "b": "2.0", "torch": "2.0+cpu"}, {"a": "1.0", "torch": "2.0"}
    )
    assert finding.mend == ["b 2.0 is installed, constraints.txt says nothing"]


def test_what_a_package_needs_by_an_extra_is_needed():
    plain, extra = audit.needed(["uvicorn"]), audit.needed(["uvicorn[standard]"])
    assert {"uvicorn", "click", "h11"} <= set(plain)
    assert "httptools" in extra and "httptools" not in plain


def test_the_notice_is_of_the_pinned_versions():
    pins = audit.pinned((PROJECT / "constraints.txt").read_text())
    lines = (PROJECT / "NOTICE").read_text().split("\n\n")[-1].splitlines()
    listed = dict(line.split(":")[0].split(" ") for line in lines)
    listed = {audit.canonicalize_name(name): version for name, version in listed.items()}
    assert {"torch", "kedro", "python-gdcm", "ray", "onnx"} <= set(listed)
    assert not {"pytest", "mypy", "hypothesis"} & set(listed)
    wrong = {name for name, version in listed.items() if pins[name] != version.split("+")[0]}
    assert not wrong, "run `make audit`"


def test_the_last_audit_had_nothing_to_mend():
    rows = json.loads((PROJECT / "docs/trust/audit.json").read_text())["rows"]
    assert all(set(row) == {"what", "tried", "outcome", "command"} for row in rows)
    assert any(row["outcome"].startswith("0 findings by bandit") for row in rows)
    assert not any("refused" in row["outcome"] or "unknown" in row["outcome"] for row in rows)
