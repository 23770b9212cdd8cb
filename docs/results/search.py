"""Compare settings of one method, and score the choice among them honestly.

    python docs/results/search.py data_real mae data_real data_mask75 data_mask90

The first folder is the study with lesions, splits and the untrained encoder; the others are
studies of the same lesions, under any pseudonyms, whose `mae` had other settings, the first of them
the reference. data_x:miram_softmax reads that method of a study instead.

Every setting is evaluated by itself. The last row is the nested one: the inner folds of the linear
probe choose the setting on the training patients of each fold, and the fold is scored by it.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from miram.evaluation.assess import assess_seeds
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.scoring import features_by_fold
from miram.reporting.facts.findings import paired_with_reference

TASK = "pathology"


def main(study: Path, method: str, roots: list[str]) -> None:
    """Print the table."""
    lesions = pd.read_parquet(study / "02_intermediate/lesions.parquet")
    splits = pd.read_parquet(study / "05_model_input/splits.parquet")
    names = names_of(study, splits["lesion_id"])
    features = {"random": read(study, "random", names)}
    for root in roots:
        folder, _, other = root.partition(":")
        features[Path(folder).name] = read(Path(folder), other or method, names)
    tried = list(features)[1:]
    together = np.column_stack([features[name] for name in tried])
    results, entries = {}, {}
    for name, values in (features | {"chosen by inner folds": together}).items():
        blocks = len(tried) if values is together else 1
        given = {"tasks": [TASK], "linear_probe": {"blocks": blocks}}
        config = AssessmentConfig.model_validate(given)
        found = assess_seeds({0: {"": values}}, lesions, splits, config)
        results[name], entries[name] = found.predictions, found.metrics["tasks"][TASK]
    rows = {}
    for reference in ("random", tried[0]):
        comparison = config.comparison.model_copy(update={"reference": reference})
        draws, seed = config.bootstrap_draws, config.seed
        for row in paired_with_reference(
            results, TASK, "binary", comparison, draws=draws, seed=seed
        ):
            text = f"{row.difference:+.3f} ({row.lower:+.3f} to {row.upper:+.3f})"
            rows.setdefault(row.method, {})[reference] = text
    entry = next(iter(entries.values()))
    print(f"{TASK}, {entry['lesions']} lesions of {entry['patients']} patients\n")
    print(f"| setting | AUC (95 %) | minus random | minus {tried[0]} |\n|---|---|---|---|")
    for name, one in entries.items():
        auc = one["metrics"]["auc"]
        cells = [rows.get(name, {}).get(reference, "") for reference in ("random", tried[0])]
        estimate = f"{auc['estimate']:.3f} ({auc['lower']:.3f} to {auc['upper']:.3f})"
        print(f"| {name} | {estimate} | {' | '.join(cells)} |")


def names_of(root: Path, pseudonyms: pd.Series) -> np.ndarray:
    """(n,) names of lesions as the raw data have them, which studies share."""
    known = pd.read_parquet(root / "02_intermediate/identities.parquet")
    return known.set_index("pseudonym")["name"].loc[pseudonyms].to_numpy()


def read(root: Path, method: str, names: np.ndarray) -> np.ndarray:
    """(n, d) features of a method, in the order of the lesions' names."""
    table = pd.read_parquet(root / f"04_feature/{method}/features.parquet")
    table["lesion_id"] = names_of(root, table["lesion_id"])
    [values] = features_by_fold(table, pd.Series(names)).values()
    return values


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
