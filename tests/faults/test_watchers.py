"""What `make faults` reports as sound is sound: each of its watchers sees what it watches for."""

import base64
import json
import os
import subprocess
import sys
import zipfile

import flips
import leaks
import pandas as pd
import pytest
import record
import soak
import study


@pytest.mark.parametrize("where", ["name", "plain", "utf-16", "zip", "parquet", "page"])
def test_a_mark_is_found_wherever_it_stands(tmp_path, where):
    word = leaks.mark(7)
    if where == "name":
        (tmp_path / f"{word}.txt").touch()
    elif where == "zip":
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner", word)
    elif where == "parquet":
        pd.DataFrame({"a": [word] * 9}).to_parquet(tmp_path / "a.parquet")
    elif where == "page":
        inner = base64.b64encode(b"text " + word.encode())
        (tmp_path / "a.html").write_bytes(b"<img src='data:image/png;base64," + inner + b"'>")
    else:
        (tmp_path / "a").write_bytes(word.encode("utf-16" if where == "utf-16" else "ascii"))
    (tmp_path / "02_intermediate").mkdir()
    (tmp_path / "02_intermediate/identities").write_text(leaks.mark(8))  # it belongs there
    assert {found for _, found in leaks.found_in(tmp_path)} == {word.encode()}


def test_the_raw_data_hold_as_many_marks_as_are_counted(tmp_path):
    lab = leaks.Lab(tmp_path / "raw", 2)
    words = {word for _, word in leaks.found_in(tmp_path, but="nothing") if word[:2] == b"Zq"}
    assert len(lab.tags) > 500
    assert len(words) > lab.marks // 2  # one film breaks off


def test_studies_differ_where_a_number_differs(tmp_path):
    for name, value in (("one", 1), ("other", 2)):
        folder = tmp_path / name / "04_feature/mae"
        folder.mkdir(parents=True)
        pd.DataFrame({"f": [value]}).to_parquet(folder / "features.parquet")
        version = "2026-01-01T00.00.00" if name == "one" else "2026-02-02T00.00.00"
        metrics = tmp_path / name / f"07_model_output/mae/metrics.json/{version}"
        metrics.mkdir(parents=True)
        (metrics / "metrics.json").write_text(json.dumps({"auc": 0.5}))
    one, other = (study.results(tmp_path / name) for name in ("one", "other"))
    assert study.differing(one, other) == ["04_feature/mae/features.parquet"]
    one, other = (study.metrics(tmp_path / name) for name in ("one", "other"))
    assert len(one) == 2 and study.differing(one, other) == []


def test_what_a_killed_run_leaves_is_seen(tmp_path):
    for name in (".sha256", ".run.lock", "features.parquet", ".features.parquet.x1.parquet"):
        (tmp_path / name).touch()
    assert study.left_over(tmp_path) == [".features.parquet.x1.parquet"]


def test_a_process_that_outlives_its_parent_is_seen():
    inner = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", inner], stdin=subprocess.PIPE, start_new_session=True
    )
    os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
    assert len(study.orphans(parent.pid, patience=0.5)) == 1
    parent.stdin.close()
    assert study.orphans(parent.pid) == []
    parent.wait()


def test_memory_and_handles_that_grow_are_seen():
    use, tried = soak.Use(None), record.Tried("steps")
    use.samples = [(10**9 + 10**7 * n, 20 + n, 5) for n in range(40)]
    use.compare(tried)
    assert [fault.split()[0] for fault in tried.faults] == ["memory", "handles"]
    flat = record.Tried("steps")
    use.samples = [(10**9 + 10**5 * n, 20, 5) for n in range(40)]
    use.compare(flat)
    assert flat.faults == []


def test_flips_are_detected_by_verify_or_listed(copied_study):
    before = study.results(copied_study)
    tried, silent = flips.attack(copied_study, 1, seed=2)
    assert [fault for one in tried for fault in one.faults] == []
    detected = sum(one.outcome["detected"] for one in tried)
    assert detected > len(tried) // 2 > 4
    assert {path.name for path in silent} <= {"tasks.json", ".sha256", ".run.json"}
    assert study.results(copied_study) == before  # all flips were taken back
