from dataclasses import replace

from miram.mammography.phantom import PhantomConfig, phantom_ceiling
from miram.reporting.sections.leaderboard import Leaderboard


def test_the_ceiling_of_a_phantom_stands_beside_the_metrics(study, cv_study):
    config = PhantomConfig(patients=60)
    for each, split in ((study, "test"), (cv_study, None)):
        asked = replace(each, parameters={**each.parameters, "phantom": config})
        assert Leaderboard().data(asked)["ceiling"] == phantom_ceiling(config, split)


def test_real_data_have_no_known_ceiling(study):
    real = replace(study, parameters={**study.parameters, "source": "cbis_ddsm", "phantom": {}})
    assert Leaderboard().data(real)["ceiling"] is None
