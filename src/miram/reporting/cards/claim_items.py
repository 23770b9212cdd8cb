"""The 44 items of CLAIM 2024, in our own words.

Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging
(CLAIM): 2024 Update. Radiology: Artificial Intelligence 2024;6(4):e240300,
doi 10.1148/ryai.240300. Numbers and sections are those of the publication; the wording that counts
is there.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """One item of the checklist.

    Attributes:
        number: 1 to 44.
        section: Where it belongs in a manuscript.
        asks: What has to be told.
    """

    number: int
    section: str
    asks: str


_SECTIONS: dict[str, tuple[str, ...]] = {
    "Title": ("The title or abstract says that this is a study of AI, and of which technology.",),
    "Abstract": ("Design, methods, results and conclusions in brief.",),
    "Introduction": (
        "Scientific or clinical background; what the AI is meant for and the part it plays.",
        "Aims and objectives, and hypotheses where there are any.",
    ),
    "Methods: study design": (
        "Whether the study looks back on data or collects them for its purpose.",
        "The goal: making a model, exploring, testing feasibility, showing non-inferiority, etc.",
    ),
    "Methods: data": (
        "Where the data come from, with links, and how well they match the intended use.",
        "Which patients and images were taken in and which were not: criteria, place, dates.",
        "How images and other data were prepared before the model saw them.",
        "Which parts of the data were chosen, if not all of them.",
        "How the data were de-identified.",
        "What was done about missing data.",
        "How the images were acquired: devices, protocol, resolution.",
    ),
    "Methods: reference standard": (
        "By which methods the reference standard was obtained, in enough detail to repeat it.",
        "Why this reference standard was chosen.",
        "Who made the annotations of the reference standard, and with which qualification.",
        "How the test set was annotated: steps, instructions, tools.",
        "Agreement within and between annotators, and how disagreement was settled.",
    ),
    "Methods: data partitions": (
        "How data were assigned to training, tuning and testing, and in which proportions.",
        "At which level the partitions are disjoint: patient, study, image.",
    ),
    "Methods: testing data": ("The sample size that was intended, and how it was determined.",),
    "Methods: model": (
        "The model in full: inputs, outputs, layers and connections.",
        "Software libraries, frameworks and packages, with versions.",
        "How the parameters were initialized: at random or from which weights.",
    ),
    "Methods: training": (
        "How the model was trained: augmentation, hyperparameters, objective, stopping.",
        "How the final model was chosen.",
        "How models were combined, if they were.",
    ),
    "Methods: evaluation": (
        "By which figures performance is measured.",
        "By which statistics significance and uncertainty are measured.",
        "How robust the results are: what was varied and what came of it.",
        "How the model's answers were explained, and how the explanations were checked.",
        "Evaluation on data of the same origin.",
        "Testing on data of another origin, or why there was none.",
        "Registration as a clinical trial, where there is one.",
    ),
    "Results: data": (
        "How many patients, examinations or images were included and excluded, and why.",
        "Demographic and clinical characteristics of the cases in each partition.",
    ),
    "Results: model performance": (
        "The figures of performance with their uncertainty, on all partitions that were tested.",
        "Diagnostic performance and its precision.",
        "What went wrong in cases that were answered wrongly.",
    ),
    "Discussion": (
        "Limitations: bias, uncertainty, generalizability.",
        "What follows for practice: intended use, clinical role.",
    ),
    "Other information": (
        "Where the full study protocol or further technical details can be read.",
        "Whether software, trained model and data are available, and how.",
        "Funding and other support, and the part the funders played.",
    ),
}


def _numbered() -> tuple[Asked, ...]:
    texts = [(section, asks) for section, items in _SECTIONS.items() for asks in items]
    return tuple(
        Asked(number, section, asks) for number, (section, asks) in enumerate(texts, start=1)
    )


CLAIM_2024 = _numbered()
