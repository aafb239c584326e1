"""Freezing: parameters that training leaves as they are."""

from collections.abc import Iterable

from torch import nn

from danlu.optim.names import matches, named_parameters, require_match


def freeze(model: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Set `requires_grad` to False for every parameter that a pattern matches.

    Args:
        model: changed in place.
        patterns: shell-style patterns over qualified names; the path of a module ("features") takes all it holds.

    Returns:
        the qualified names of the frozen parameters, in the model's order.

    Raises:
        RecipeError: a pattern matches nothing.
    """
    patterns = list(patterns)
    every = named_parameters(model)
    for pattern in patterns:
        require_match("freeze", pattern, every)
    frozen = [entry for entry in every if any(matches(entry, pattern) for pattern in patterns)]
    for entry in frozen:
        entry.parameter.requires_grad_(False)
    return [entry.name for entry in frozen]
