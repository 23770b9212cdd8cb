"""Speed of ingestion: `make bench`. Ratios of one run count; the machine is shared.

Goals: 1,000 headers a second on one core; cropping at 90 % of the rate of pure decoding; two
workers close to twice as fast as one. What was measured: docs/decisions/007-speed-of-ingestion.md.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from joblib import Parallel, delayed
from PIL import Image

from miram.mammography.crops.cut import CropConfig, cut_image
from miram.mammography.crops.plan import plan_crops
from miram.mammography.decoding.headers import read_header
from miram.mammography.decoding.read import read_image
from miram.mammography.phantom import PhantomConfig, phantom_files
from miram.mammography.sources import make_source

CONFIG = CropConfig(image_size=448, context=1.25, backgrounds_per_image=2)
REAL_FILMS = Path(__file__).parents[2] / "shared" / "data" / "cbis_ddsm"
ROUNDS = 5


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """A phantom with films of real size: 16 bit, about 5,000 x 3,000 pixels, uncompressed."""
    root = tmp_path_factory.mktemp("films")
    for name, content in phantom_files(PhantomConfig(patients=6, image_size=5000)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return plan_crops(make_source("phantom").ingest(root).lesions, root, CONFIG)


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Real films and masks of CBIS-DDSM as 8-bit JPEG."""
    if not REAL_FILMS.is_dir():
        pytest.skip(f"the real films are not at {REAL_FILMS}")
    return plan_crops(make_source("cbis_ddsm").ingest(REAL_FILMS).lesions, REAL_FILMS, CONFIG)


@pytest.fixture(params=["phantom", "real"])
def plan(request):
    return request.getfixturevalue(request.param)


def by_library(task, root: Path) -> None:
    """What Pillow and pydicom need, by themselves, to give the pixels as arrays."""
    for name in task.files:
        if name.endswith(".dcm"):
            np.asarray(pydicom.dcmread(root / name).pixel_array)
        else:
            with Image.open(root / name) as picture:
                np.asarray(picture)


def decode(task, root: Path) -> None:
    for name in task.files:
        read_image(root / name)


def cut(task, root: Path) -> None:
    cut_image(task, root, CONFIG)


def seconds(work, plan) -> float:
    """Processor time, which other programs on the machine disturb least."""
    started = time.process_time()
    for task in plan.tasks:
        work(task, plan.raw_root)
    return time.process_time() - started


def test_headers_per_second(benchmark, phantom):
    files = [phantom.raw_root / name for task in phantom.tasks for name in task.files]
    benchmark(lambda: [read_header(path) for path in files])
    benchmark.extra_info["headers_per_second"] = len(files) / benchmark.stats.stats.min


def test_cropping_against_pure_decoding(benchmark, plan):
    seconds(decode, plan)  # the files are in the cache from here on
    benchmark.pedantic(seconds, args=(cut, plan), rounds=1)
    times = [[seconds(work, plan) for work in (by_library, decode, cut)] for _ in range(ROUNDS)]
    library, decoding, cutting = (statistics.median(column) for column in zip(*times, strict=True))
    images = len(plan.tasks)
    benchmark.extra_info["decoding_ms_per_image"] = 1000 * decoding / images
    benchmark.extra_info["cropping_ms_per_image"] = 1000 * cutting / images
    benchmark.extra_info["ratio_decoding"] = decoding / cutting
    benchmark.extra_info["ratio_libraries_decoding"] = library / cutting


@pytest.mark.parametrize("work", [decode, cut])
def test_two_workers_against_one(benchmark, plan, work):
    tasks = list(plan.tasks) * 2

    def run(workers: int) -> float:
        with Parallel(n_jobs=workers) as parallel:
            parallel(delayed(work)(task, plan.raw_root) for task in tasks[:workers])  # start-up
            started = time.perf_counter()
            parallel(delayed(work)(task, plan.raw_root) for task in tasks)
            return time.perf_counter() - started

    one = min(run(1) for _ in range(2))
    two = benchmark.pedantic(run, args=(2,), rounds=1)
    benchmark.extra_info["ratio_one_worker"] = one / min(two, run(2))
