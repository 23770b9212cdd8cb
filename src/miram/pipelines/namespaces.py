"""One template, one namespace per method: how the pipelines of all methods are made."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline

SHARED = {"crops", "splits", "lesions"}


def for_each(template: Pipeline, names: Iterable[str]) -> Pipeline:
    """Repeat a pipeline under several namespaces.

    Crops, splits, lesions and the parameters of the template are shared; all else is each
    namespace's own. `params:method` is a parameter of the namespace.
    """
    inputs = template.inputs()
    parameters = {name for name in inputs if name.startswith("params:")} - {"params:method"}
    return sum(
        (
            Pipeline(template, namespace=name, inputs=SHARED & inputs, parameters=parameters)
            for name in names
        ),
        start=Pipeline([]),
    )
