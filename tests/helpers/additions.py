"""A study with one part of each kind added from outside the package.

    python additions.py PROJECT RAW_ROOT DATA_ROOT

Each part is a class or an object and one registry line; PROJECT has the YAML that names them.
"""

import sys
from pathlib import Path
from typing import ClassVar

from added_parts import FlatDecoderConfig, MeanConfig
from kedro.framework.startup import bootstrap_project

import miram.reporting.sections as report
from miram.evaluation.statistics.metrics import METRICS, Metric
from miram.evaluation.tasks.definitions import TASKS, TaskConfig
from miram.mammography.audit import audit_rows
from miram.mammography.sources import SOURCES, Ingested
from miram.mammography.sources.base import SourceNote
from miram.mammography.sources.phantom import PhantomSource
from miram.models.attention import ATTENTIONS
from miram.models.decoders import DECODERS
from miram.models.methods import METHODS, Method
from miram.session import StudySession


class AtlasSource(PhantomSource):
    about: ClassVar = SourceNote(title="Atlas of one's own", citations=("A Curator (2026). Atlas",))
    audit_codes: ClassVar = {**PhantomSource.audit_codes, "odd_page": "a page of the atlas is odd"}

    def ingest(self, raw_root):
        found = super().ingest(raw_root)
        note = audit_rows([{"file": "page.txt", "code": "odd_page", "action": "kept"}])
        return Ingested(found.lesions, note)


class Tallest(report.Section):
    title = "The longest name"
    template = "longest_name.html"

    def data(self, study):
        return {"name": max(study.methods, key=len)}


SOURCES["atlas"] = AtlasSource
ATTENTIONS.add(MeanConfig)
DECODERS.add(FlatDecoderConfig)
METHODS["two_ways"] = Method(
    name="two_ways",
    label="Two ways",
    color="#123456",
    summary="Learns in two ways",
    kind="masked_autoencoder",
)
TASKS["breast"] = TaskConfig(name="breast", kind="binary", column="laterality", positive=("LEFT",))
METRICS["missed"] = Metric(
    "missed",
    "Share missed",
    lambda given: given.false_negative[-1] / given.total,
    "decisions",
    ("binary",),
    better="lower",
)
report.SECTIONS = (*report.SECTIONS, Tallest())


if __name__ == "__main__":
    project, raw_root, data_root = map(Path, sys.argv[1:])
    bootstrap_project(project)
    given = {"source": "atlas", "raw_root": str(raw_root), "data_root": str(data_root)}
    with StudySession.create(project, env="test", runtime_params=given) as session:
        session.run()
