"""What the process imports that others are forked from; see `own_process`.

Ctrl-C and SIGTERM reach it as well where they are sent to all processes. It outlives them, as it is
needed to hear how its children end, and ends with the command. Nothing here may raise: without one
of these modules processes start more slowly, and say themselves what they lack.
"""

import contextlib
import signal
import sys
from importlib import import_module

for name in (signal.SIGINT, signal.SIGTERM):
    signal.signal(name, signal.SIG_IGN)
# Python puts the working directory first, where a file may have the name of a library.
sys.path[:] = [folder for folder in sys.path if folder]
for module in ("miram.training.pretrain", "miram.training.supervised", "kornia.enhance"):
    with contextlib.suppress(Exception):
        import_module(module)
