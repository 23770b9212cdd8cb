"""One template, one namespace per method: how the pipelines of all methods are made."""

from collections.abc import Iterable

from kedro.pipeline import Node, Pipeline

SHARED = {"crops", "splits", "lesions"}


def for_each(nodes: Iterable[Node], names: Iterable[str]) -> Pipeline:
    """Repeat a pipeline under several namespaces.

    Crops, splits, lesions and the parameters of the nodes are shared; all else is each namespace's
    own. `params:method` is a parameter of the namespace.
    """
    template = Pipeline(nodes)
    inputs = template.inputs()
    parameters = {name for name in inputs if name.startswith("params:")} - {"params:method"}
    return Pipeline(
        [
            Pipeline(template, namespace=name, inputs=SHARED & inputs, parameters=parameters)
            for name in names
        ]
    )
