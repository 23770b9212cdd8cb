"""The worked example of docs/bring_your_own_data.md does what the page says."""

import re
import subprocess
import sys

import pytest
import yaml
from project_paths import PROJECT

from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.sources import make_source

PAGE = (PROJECT / "docs" / "bring_your_own_data.md").read_text()
RECIPES = (PROJECT / "docs" / "public_data_sets.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def my_lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my_lab")
    subprocess.run([sys.executable, "-c", blocks("python")[0]], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def ingested(my_lab):
    options = yaml.safe_load(blocks("yaml")[0])["sources"]["image_table"]
    return make_source("image_table", options).ingest(my_lab)


def test_the_example_gives_thirty_labelled_lesions_and_an_empty_audit(ingested):
    lesions = ingested.lesions
    assert (len(lesions), lesions["patient_id"].nunique(), len(ingested.audit)) == (30, 30, 0)
    assert dict(lesions["pathology"].value_counts()) == {"BENIGN": 15, "MALIGNANT": 15}
    assert lesions["mass_margins"].iloc[1] == ["OBSCURED", "SPICULATED"]
    assert set(lesions["laterality"]) == {"LEFT"} and set(lesions["source_bits"]) == {16}
    assert "grade" in lesions


def test_the_example_can_be_cut(ingested, my_lab, tmp_path):
    few = ingested.lesions.head(4)
    store = build_crop_store(
        plan_crops(few, my_lab, CropConfig(image_size=64, context=1.0)), tmp_path / "s"
    )
    assert len(store.manifest) == 4
    widths = (few["box_x1"] - few["box_x0"]).tolist()
    cut = store.manifest.set_index("crop_id").loc[few["lesion_id"]]
    assert (cut["box_x1"] - cut["box_x0"]).tolist() == widths


@pytest.mark.parametrize("page", [PAGE, RECIPES], ids=["own", "public"])
def test_every_script_on_the_pages_is_python(page):
    scripts = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert scripts
    for number, script in enumerate(scripts):
        assert compile(script, f"block {number}", "exec").co_code
