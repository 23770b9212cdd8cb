"""Answers about the design of a study and its data: items 1 to 21, 35 and 36 of CLAIM 2024."""

import pandas as pd

from miram.reporting.cards.claim_answer import Answer, answered, author, not_applicable
from miram.reporting.charts.styles import MAIN_METRICS
from miram.reporting.facts.data_sources import SourceNote, source_note
from miram.reporting.facts.limits import RESEARCH_ONLY
from miram.reporting.facts.settings import flatten
from miram.reporting.facts.splits import split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.tables import DataFacts, data_facts, left_out, skipped_parts
from miram.reporting.facts.words import counted, listed, number

_CLINICAL = ("pathology", "abnormality_type", "density", "assessment", "subtlety", "view")
# The labels of a lesion, and the type of abnormality that one applies to.
_LABELS = {
    **dict.fromkeys(("laterality", "view", "abnormality_type", "pathology"), ""),
    **dict.fromkeys(("density", "assessment", "subtlety"), ""),
    **dict.fromkeys(("mass_shape", "mass_margins"), "mass"),
    **dict.fromkeys(("calc_type", "calc_distribution"), "calcification"),
}
_NO_PATIENTS = "The images are synthetic: "


def design(study: Study) -> dict[int, Answer]:
    """Items 1 to 6: title, abstract, introduction, study design."""
    note = source_note(study.parameters.get("source"))
    names = listed(study.methods)
    technology = (
        f"Deep learning: encoders of image crops by {counted(len(study.methods), 'method')} "
        f"({names}), judged by linear probes on frozen features."
    )
    if note.synthetic:
        when = not_applicable(_NO_PATIENTS + "nobody was observed, before or after.")
    elif note.published:
        when = answered(
            f"Retrospective: images and labels of {note.title} had been published beforehand."
        )
    else:
        when = author("Whether the data were collected before or for this study.")
    return {
        1: author("Name the technology in the title or the abstract.", technology),
        2: author("A summary of design, methods, results and conclusions."),
        3: author("The background, and what the model is meant for.", RESEARCH_ONLY),
        4: author("Aims, objectives and hypotheses."),
        5: when,
        6: author(
            "The goal of the study.",
            f"The run compares {counted(len(study.methods), 'method')} by what a linear probe "
            "reads from frozen features.",
        ),
    }


def data(study: Study) -> dict[int, Answer]:
    """Items 7 to 13: the data."""
    note, facts = source_note(study.parameters.get("source")), data_facts(study)
    included, views = _included(study, facts), _shares(study.lesions["view"])
    if note.synthetic:
        selection = answered(included)
        identity = not_applicable(_NO_PATIENTS + "there is nobody to be identified.")
        acquisition = not_applicable(_NO_PATIENTS + "nothing was acquired.")
    else:
        selection = author("How, where and when the patients were selected.", included)
        identity = author(
            "How and by whom the data were de-identified; approval or waiver by an ethics "
            "committee, with its number, or why none was needed.",
            "The run removes nothing from the files that it reads. Its tables keep the names of "
            "patients, images and files as the source gives them.",
        )
        bits = listed(f"{count} mammograms of {depth} bits" for depth, count in facts.bits.items())
        acquisition = author(
            "Devices, digitization, resolution, protocol.", f"Views: {views}. Files: {bits}."
        )
    return {
        7: _source(study, note, facts),
        8: selection,
        9: answered(_preparation(study, facts)),
        10: answered(_subsets(study, facts)),
        11: identity,
        12: answered(_missing(study)),
        13: acquisition,
    }


def reference(study: Study) -> dict[int, Answer]:
    """Items 14 to 18: the reference standard."""
    note, labels = source_note(study.parameters.get("source")), _labels(study)
    if note.synthetic:
        nobody = not_applicable(_NO_PATIENTS + "labels and outlines were computed with them.")
        generated = "Each lesion was drawn from its labels, which are thereby known. "
        return {14: answered(generated + labels), 15: nobody, 16: nobody, 17: nobody, 18: nobody}
    taken = (
        "Labels and outlines were taken from the source; the run made none. Its audit names every "
        "file that was repaired or reassigned."
    )
    return {
        14: author("How the labels were obtained: biopsy, follow-up, reading.", labels),
        15: author("Why this reference standard was chosen."),
        16: author("Who annotated, and with which qualification.", taken),
        17: author(
            "How the test lesions were annotated: steps, instructions, tools.",
            "Lesions that are judged carry the labels of the source like all others.",
        ),
        18: author(
            "Agreement within and between annotators, or that the source does not report it.",
            "The lesion table holds one reading of each lesion: the run measured no agreement.",
        ),
    }


def partitions(study: Study) -> dict[int, Answer]:
    """Items 19 to 21: partitions and sample size."""
    facts = split_facts(study.splits)
    if facts.shared:
        level = f"Not by patient: {counted(facts.shared, 'patient')} on two sides. {facts.policy}"
    else:
        level = (
            "Patient: none is on two sides, which the run checks before anything is trained. "
            f"{facts.policy}"
        )
    if facts.strategy == "cv" and facts.seen:
        level += (
            f" Pretraining without labels saw images of {facts.seen} of the {facts.judged} "
            "patients that are judged."
        )
    return {
        19: answered(str(facts)),
        20: answered(level),
        21: author("The sample size that was intended, and why.", _precision(study)),
    }


def cases(study: Study) -> dict[int, Answer]:
    """Items 35 and 36: included and excluded, characteristics by partition."""
    note, facts = source_note(study.parameters.get("source")), data_facts(study)
    flow = f"{_included(study, facts)} {_subsets(study, facts)}"
    parts = study.splits[["lesion_id", "split"]].merge(study.lesions, on="lesion_id")
    told = " ".join(
        f"{part}; {_characteristics(parts[parts['split'] == part.name])}."
        for part in split_facts(study.splits).parts
    )
    if note.synthetic:
        return {35: answered(flow), 36: answered(f"{told} Synthetic images have no demography.")}
    return {
        35: author("How many were screened before the source was made, and a flow chart.", flow),
        36: author("Age and other demography, which the lesion table does not hold.", told),
    }


def _source(study: Study, note: SourceNote, facts: DataFacts) -> Answer:
    what = (
        f"{note.title}: {note.origin}. Terms: {note.terms}. {counted(facts.lesions, 'lesion')} of "
        f"{counted(facts.patients, 'patient')}, data version {study.crops.digest}."
    )
    cited = " ".join(f"{work}." for work in note.citations)
    if note.synthetic:
        return answered(what)
    left = "How well these patients match those that the model is meant for."
    if note.synthetic is None:
        left = f"Where the data come from, on which terms, with links. {left}"
    return author(left, f"{what} {cited}".strip())


def _included(study: Study, facts: DataFacts) -> str:
    lost = [row for row in left_out(study).rows if row[3] == "left out"]
    why = listed(f"{row[0]} {row[4]}" + (f" ({row[1]})" if row[1] else "") for row in lost)
    return (
        f"Included: every lesion whose mammogram and whose outline or box were found and read: "
        f"{counted(facts.lesions, 'lesion')} in {counted(facts.mammograms, 'mammogram')} of "
        f"{counted(facts.patients, 'patient')}. Left out, rows by reason: {why}."
    )


def _preparation(study: Study, facts: DataFacts) -> str:
    settings = listed(f"{name} {value}" for name, value in flatten(study.crops.parameters).items())
    return (
        "Lesions were cut from the mammogram as squares around their outline and stored with "
        f"{study.crops.image_size} pixels a side and 16 bits; {facts.upsampled} of "
        f"{facts.lesions} had to be enlarged. Settings: {settings}."
    )


def _subsets(study: Study, facts: DataFacts) -> str:
    first = next(iter(study.methods.values())).metrics
    tasks = listed(
        f"{name}: {counted(found['lesions'], 'lesion')} of "
        f"{counted(found['patients'], 'patient')} judged"
        for name, found in first["tasks"].items()
    )
    return (
        f"Lesion crops ({facts.lesions}) and background patches ({facts.backgrounds}) were used, "
        f"not whole mammograms; {counted(facts.uncut, 'lesion')} of the table have no crop. "
        f"Tasks: {tasks}."
    )


def _missing(study: Study) -> str:
    counts = {name: _lacking(study.lesions, name) for name in _LABELS}
    lacking = listed(
        f"{name} {missing} of {count}" for name, (missing, count) in counts.items() if missing
    )
    skipped = listed(
        f"{task}, {what}, {counted(count, 'lesion')}: {why}"
        for task, what, count, why in skipped_parts(study.methods).rows
    )
    return (
        f"Nothing was imputed. Lesions without a value, of those that it applies to: {lacking}. "
        f"Left out of the evaluation: {skipped}."
    )


def _lacking(lesions: pd.DataFrame, name: str) -> tuple[int, int]:
    """How many lesions lack a value, and of how many that it applies to."""
    kind = _LABELS[name]
    rows = lesions[lesions["abnormality_type"].eq(kind).fillna(False)] if kind else lesions
    return int(rows[name].isna().sum()), len(rows)


def _labels(study: Study) -> str:
    tasks = next(iter(study.methods.values())).metrics["tasks"]
    parts = [f"{name} ({', '.join(found['classes'])})" for name, found in tasks.items()]
    text = f"Labels are those of the lesion table. Tasks: {listed(parts)}."
    taken = {found["without_callback"] for found in tasks.values()}
    if "benign" in taken:
        text += " Benign lesions that were not recalled count as benign."
    if "drop" in taken:
        text += " Benign lesions that were not recalled are left out."
    return text


def _precision(study: Study) -> str:
    main = study.probes[study.probes["metric"].isin(MAIN_METRICS)]
    rows = main.drop_duplicates("task")
    widths = listed(
        f"{row.task} {number(row.upper - row.lower)} ({row.lesions} lesions, "
        f"{row.patients} patients)"
        for row in rows.itertuples()
    )
    return (
        f"All usable lesions were taken. Width of the 95 % interval of the highest main figure, "
        f"by task: {widths}."
    )


def _characteristics(rows: pd.DataFrame) -> str:
    told = [
        f"{name.replace('_', ' ')}: {_shares(rows[name])}"
        for name in _CLINICAL
        if rows[name].notna().any()
    ]
    return "; ".join(told) or "no characteristics known"


def _shares(values: pd.Series) -> str:
    """The values of a column with their counts, missing ones last."""
    found = values.dropna().astype(str).value_counts().sort_index()
    missing = int(values.isna().sum())
    texts = [f"{name} ({count})" for name, count in found.items()]
    return listed([*texts, *([f"unknown ({missing})"] if missing else [])])
