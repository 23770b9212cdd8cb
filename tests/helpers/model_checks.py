"""Questions that tests ask of any model."""

import torch


def parameters_without_gradient(model):
    """Names of the trained parameters that a backward pass did not reach."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }


def saved_bytes(model, run):
    """Bytes that a pass keeps for the backward pass, weights left out, and what it gives."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address serves twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    sizes = [t.untyped_storage().nbytes() for place, t in saved.items() if place not in weights]
    return sum(sizes), result
