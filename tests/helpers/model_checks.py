"""Questions that tests ask of any model."""

from miram.models.describe import kept_for_backward


def parameters_without_gradient(model):
    """Names of the trained parameters that a backward pass did not reach."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }


def saved_bytes(model, run):
    """Bytes that a pass keeps for the backward pass, weights left out, and what it gives."""
    with kept_for_backward(model.parameters()) as kept:
        result = run()
        return kept(), result
