"""A synthetic imitation of CBIS-DDSM: files, tables and quirks, drawn from one seed.

It lets everything run where the real data is absent. Its numbers say nothing about real breasts.
"""

from miram.mammography.phantom.cases import draw_cases, phantom_ceiling
from miram.mammography.phantom.config import PhantomConfig
from miram.mammography.phantom.files import phantom_files

__all__ = ["PhantomConfig", "draw_cases", "phantom_ceiling", "phantom_files"]
