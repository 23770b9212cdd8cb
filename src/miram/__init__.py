"""Multi-scale masked autoencoders for mammography."""

import os

# Threads that spin while they wait for each other make training up to 50 times slower where other
# work shares the cores. OpenMP reads this once, when torch is loaded, so it is set before that.
# Sleeping costs several threads 15 to 25 % on quiet cores; trainings take one thread by default.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
