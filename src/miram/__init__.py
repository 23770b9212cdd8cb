"""Multi-scale masked autoencoders for mammography."""

import ctypes
import gc
import os
import sys

# Threads that look again and again for those they wait for make training more than ten times slower
# where other work shares the cores; threads that sleep at once nearly halve the speed of small
# models on quiet ones. So they look 10,000 times, less than a millisecond, and then sleep:
# docs/decisions/033. GNU's OpenMP reads both once, when torch is loaded; others know the first
# alone. What the user has set is left.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
    os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}

# torch, timm and MLflow bring a million objects. To look through them for garbage after every 700
# new ones, as Python does, is a quarter of the start of each command. A higher value set before is
# kept, and so is 0, which is never.
_NEW_OBJECTS = 50_000
if 0 < gc.get_threshold()[0] < _NEW_OBJECTS:
    gc.set_threshold(_NEW_OBJECTS, 20, 50)

# Arrays of megabytes come and go in every step and film. The C library of Linux gives each back to
# the system, which clears it anew: a fifth of drawing a phantom, a twentieth of a training step. So
# arrays up to 32 MiB, its most, come from its heap, of which up to 128 MiB are kept. What the user
# has set is left; another C library has no such settings.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SET_BY_USER = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
if sys.platform == "linux" and not _SET_BY_USER:
    _mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        _mallopt(_M_TRIM_THRESHOLD, 128 * 2**20)
