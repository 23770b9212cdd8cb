"""Multi-scale masked autoencoders for mammography."""

import gc
import os

# Threads that spin while they wait for each other make training up to 50 times slower where other
# work shares the cores. OpenMP reads this once, when torch is loaded, so it is set before that.
# Sleeping costs several threads 15 to 25 % on quiet cores; trainings take one thread by default.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# torch, timm and MLflow bring a million objects. To look through them for garbage after every 700
# new ones, as Python does, is a quarter of the start of each command. A higher value set before is
# kept, and so is 0, which is never.
_NEW_OBJECTS = 50_000
if 0 < gc.get_threshold()[0] < _NEW_OBJECTS:
    gc.set_threshold(_NEW_OBJECTS, 20, 50)
