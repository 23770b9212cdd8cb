"""The sections of the page, one class each; `SECTIONS` is their order."""

from miram.reporting.sections.attentions import Attentions
from miram.reporting.sections.calibration import Calibration
from miram.reporting.sections.costs import Costs
from miram.reporting.sections.curves import Curves
from miram.reporting.sections.data import Data, LeftOut, Versions
from miram.reporting.sections.label_efficiency import LabelEfficiency
from miram.reporting.sections.leaderboard import Leaderboard
from miram.reporting.sections.methods import Methods, Training
from miram.reporting.sections.neighbors import Neighbors
from miram.reporting.sections.paper import Paper
from miram.reporting.sections.section import Section
from miram.reporting.sections.shortcuts import Shortcuts
from miram.reporting.sections.subgroups import Subgroups
from miram.reporting.sections.summary import Limits, Summary

SECTIONS: tuple[Section, ...] = (
    Summary(),
    Leaderboard(),
    Shortcuts(),
    Curves(),
    Calibration(),
    Subgroups(),
    LabelEfficiency(),
    Costs(),
    Attentions(),
    Neighbors(),
    Paper(),
    Data(),
    LeftOut(),
    Methods(),
    Training(),
    Limits(),
    Versions(),
)
