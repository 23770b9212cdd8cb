"""The sweep over attentions, with one kind and a tiny budget, as far as its page."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from project_paths import PROJECT

KIND = "miram_halo"
SCRIPT = PROJECT / "docs/results/attention_quality.py"


@pytest.fixture(scope="module")
def swept(study, tmp_path_factory, run_pipeline):
    data = tmp_path_factory.mktemp("sweep") / "data"
    shutil.copytree(study, data, ignore=shutil.ignore_patterns("mlflow"))
    tiny = yaml.safe_load((PROJECT / "conf/test/parameters.yml").read_text())
    tiny["methods"] = f"random+mae+miram_softmax+{KIND}"
    for pipeline in ("pretrain", "probe"):
        run_pipeline(data, pipeline, env="attention_sweep", namespaces=[KIND], **tiny)
    run_pipeline(data, "report", env="attention_sweep", **tiny)
    return data


@pytest.fixture(scope="module")
def page(swept):
    page = swept / "quality.md"
    page.write_text(SCRIPT.with_suffix(".md").read_text())
    # What `miram benchmark step --json` prints.
    rates = {"mae": 400.0, "miram_softmax": 200.0, KIND: 125.0}
    rows = [{"stage": "step", "what": name, "rate": rate} for name, rate in rates.items()]
    (swept / "rates.json").write_text(json.dumps(rows))
    subprocess.run([sys.executable, SCRIPT, swept, page], check=True)
    return page


def row(page, method):
    (line,) = (line for line in page.read_text().splitlines() if f"| {method} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_halos_that_cover_the_grid_give_what_softmax_gives(page):
    exact, halo = row(page, "miram_softmax"), row(page, KIND)
    assert halo[4] == "+0.000 (+0.000 to +0.000), p 1.000"
    assert [halo[place] for place in (2, 3, 5, 6)] == [exact[place] for place in (2, 3, 5, 6)]
    assert exact[4] == exact[7] == ""
    assert float(halo[7].split()[0]) == pytest.approx(0, abs=0.01)


def test_the_page_tells_what_is_in_the_files_of_the_run(page, swept):
    crops = pd.read_csv(swept / f"06_models/{KIND}/fidelity.csv")
    psnr = crops[crops["scale"] == 2].groupby("patient_id")["psnr"].mean().mean()
    assert row(page, KIND)[6].startswith(f"{psnr:.2f} (")
    assert row(page, KIND)[10] == "8.00"
    untrained = row(page, "random")
    assert untrained[2] and not any(untrained[3:])
    assert page.with_suffix(".svg").read_text().count("<svg") == 1
