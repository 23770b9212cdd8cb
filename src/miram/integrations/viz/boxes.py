"""Keep what belongs to a method inside its box of Kedro-Viz.

Kedro-Viz draws an output of a namespace beside its box where nothing inside reads it, or something
outside does. With a fan-in of all methods that is nearly all: over a hundred loose datasets around
the boxes of the methods.
"""

from typing import Any

Graph = dict[str, Any]
_SIDES = ("inputs", "outputs")


def datasets_in_boxes(graph: Graph) -> Graph:
    """Move the datasets of a namespace, `mae.metrics` of `mae`, into its box.

    Args:
        graph: A pipeline as the API of Kedro-Viz tells it (`nodes`, `edges`,
            `modular_pipelines`, ...).

    Returns:
        The same pipeline. Each moved dataset is shown when its box is opened; a closed box is
        connected with all that read or write what is in it.
    """
    boxes = graph["modular_pipelines"]
    moved = _owners(graph)
    return {
        **graph,
        "nodes": [
            {**node, "modular_pipelines": [moved[node["id"]]]} if node["id"] in moved else node
            for node in graph["nodes"]
        ],
        "edges": _edges(graph["edges"], boxes, moved),
        "modular_pipelines": {name: _box(name, box, moved) for name, box in boxes.items()},
    }


def _owners(graph: Graph) -> dict[str, str]:
    """The box of every dataset that is to be moved, by the dataset's id."""
    names = {node["id"]: node["name"] for node in graph["nodes"] if node["type"] == "data"}
    return {
        item: box
        for box, content in graph["modular_pipelines"].items()
        for side in _SIDES
        for item in content[side]
        if names.get(item, "").startswith(f"{box}.")
    }


def _box(name: str, box: Graph, moved: dict[str, str]) -> Graph:
    children = [child for child in box["children"] if child["id"] not in moved]
    children += [{"id": item, "type": "data"} for item, owner in moved.items() if owner == name]
    return {
        **box,
        **{side: [item for item in box[side] if item not in moved] for side in _SIDES},
        "children": children,
    }


def _edges(edges: list[Graph], boxes: Graph, moved: dict[str, str]) -> list[Graph]:
    inside = {name: {child["id"] for child in box["children"]} for name, box in boxes.items()}
    ends: dict[tuple[str, str], None] = {}  # a set that keeps the order
    for edge in edges:
        source, target = edge["source"], edge["target"]
        if target in moved and source != moved[target] and source not in inside[moved[target]]:
            ends[source, moved[target]] = None
        if source in moved and target != moved[source] and target not in inside[moved[source]]:
            ends[moved[source], target] = None
        # A box is not connected with what it holds.
        if moved.get(target) != source and moved.get(source) != target:
            ends[source, target] = None
    return [{"source": source, "target": target} for source, target in ends]
