"""What `make bench` says of a run, and what it keeps."""

import json

import pytest
import report

GOAL = "test_fine_tuning_against_a_plain_loop/plain_loop"


def run_of(path, ratio, flags=()):
    """A run of one benchmark, as pytest-benchmark writes it."""
    benchmark, name = GOAL.split("/")
    run = {
        "datetime": "2026-12-01T01:47:40+00:00",
        "machine_info": {"cpu": {"brand_raw": "Intel(R) Xeon(R) Processor", "flags": flags}},
        "benchmarks": [{"name": benchmark, "extra_info": {f"ratio_{name}": ratio, "images": 78.1}}],
    }
    path.write_text(json.dumps(run))
    return path


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Run the script with files of its own: what it says."""
    monkeypatch.setattr(report, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    report.BASELINE.write_text("{}")

    def call(run, write=False):
        report.main(run, write)
        return capsys.readouterr().out

    return call


def test_a_ratio_that_fell_is_named(tmp_path, said):
    said(run_of(tmp_path / "before.json", 1.0), write=True)
    assert "0 fell" in said(run_of(tmp_path / "same.json", 0.86))
    assert f"{GOAL}: 0.84, was 1.00" in said(run_of(tmp_path / "slower.json", 0.84))


def test_a_run_is_compared_with_its_own_kind_of_processor(tmp_path, said):
    said(run_of(tmp_path / "plain.json", 1.0), write=True)
    amx = run_of(tmp_path / "amx.json", 0.5, ["amx_bf16", "avx512_bf16"])
    reported = said(amx, write=True)
    assert "no baseline of Intel Xeon with AMX" in reported and "0 fell" in reported
    rows = report.PAGE.read_text().splitlines()
    assert "| what: against what | goal | Intel Xeon | Intel Xeon with AMX |" in rows
    assert "| fine-tuning: a plain PyTorch loop | 0.9 | 1.00, yes | 0.50, no |" in rows


def test_the_page_holds_what_is_kept():
    kept = json.loads(report.BASELINE.read_text())
    assert report.PAGE.read_text() == report.page(kept)
