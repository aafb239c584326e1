"""danlu: a training system for PyTorch that is exact, fast, says what is wrong, and loses nothing.

Names load when they are first used, so `import danlu` and the command line's help do not wait for PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu import data, device, hooks, keyed, models, objectives, optim, save, track
    from danlu.api import evaluate, fit, load_model, load_recipe, predict, replay, steps
    from danlu.errors import DanluError, DataError, ModelError, RecipeError, RunError, TrainingError
    from danlu.recipe import (
        Augment,
        Checkpoints,
        Data,
        EarlyStop,
        Init,
        Loss,
        Metric,
        Model,
        Optim,
        Recipe,
        Schedule,
        Weights,
    )
    from danlu.track import Run
    from danlu.train.hook import Every, Hook, Stop
    from danlu.train.pretrained import load_weights

__version__ = "0.1.0"

_ROOMS = ("data", "device", "hooks", "keyed", "models", "objectives", "optim", "save", "track")
_HOMES = {
    "api": ("evaluate", "fit", "load_model", "load_recipe", "predict", "replay", "steps"),
    "errors": ("DanluError", "DataError", "ModelError", "RecipeError", "RunError", "TrainingError"),
    "recipe": (
        "Augment",
        "Checkpoints",
        "Data",
        "EarlyStop",
        "Init",
        "Loss",
        "Metric",
        "Model",
        "Optim",
        "Recipe",
        "Schedule",
        "Weights",
    ),
    "track": ("Run",),
    "train.hook": ("Every", "Hook", "Stop"),
    "train.pretrained": ("load_weights",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Augment",
    "Checkpoints",
    "DanluError",
    "Data",
    "DataError",
    "EarlyStop",
    "Every",
    "Hook",
    "Init",
    "Loss",
    "Metric",
    "Model",
    "ModelError",
    "Optim",
    "Recipe",
    "RecipeError",
    "Run",
    "RunError",
    "Schedule",
    "Stop",
    "TrainingError",
    "Weights",
    "data",
    "device",
    "evaluate",
    "fit",
    "hooks",
    "keyed",
    "load_model",
    "load_recipe",
    "load_weights",
    "models",
    "objectives",
    "optim",
    "predict",
    "replay",
    "save",
    "steps",
    "track",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"danlu.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'danlu' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"danlu.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
