"""Wiring: one package per pipeline, named as the command runs it, with thin nodes.

A single node stands beside its pipeline, several in `nodes.py`; torch is imported when one runs.
Arguments of a node are datasets and parameters of the catalog's names: `crops` the crop store,
`lesions` the lesion table, `splits` the split of each lesion, `encoder` the weights of a method or,
in pretraining, their configuration, `engine` where it is computed, `..._folder` where work that is
not finished is kept. A node's docstring describes what is not said here.
"""
