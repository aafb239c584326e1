"""The only place that turns a recipe's names into objects."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Literal

from torch import nn, optim

from danlu import data as data_room
from danlu import device, keyed, models
from danlu.data import Data
from danlu.device import Plan
from danlu.errors import RecipeError, unknown_name
from danlu.objectives import Objective, make_objective
from danlu.optim import Ema, freeze, initialise, make_optimizer
from danlu.optim.framework import is_zero
from danlu.optim.options import check_options
from danlu.recipe import Data as DataPart
from danlu.recipe import Model as ModelPart
from danlu.recipe import Settled
from danlu.train.learner import Learner
from danlu.train.loaded import Loaded
from danlu.train.pretrained import load_part
from danlu.train.reference import is_reference, load_reference
from danlu.train.step import Parts, Step, TorchLearner
from danlu.train.weights import load_module


def build_model(part: ModelPart | None, seed: int, engine: Literal["torch", "zero"] = "torch") -> Any:
    """Build the model that a recipe names, its first weights drawn from the recipe's seed.

    Args:
        part: the recipe's.
        seed: the recipe's.
        engine: with "zero" a PyTorch model becomes its twin in danlu.zero, with the same first weights.

    Raises:
        RecipeError: an unknown name or option, or something that is no `nn.Module`.
        ModelError: the model has no twin.
    """
    if part is None or not part.build:
        want = "a model: a name, or file.py:Name"
        raise RecipeError(where="model.build", got="nothing", want=want, fix="set [model] build in the recipe")
    builder = _builder(part)
    check_options("model", builder, part.options, own=())
    with device.kept_generators():
        device.seed_all(keyed.number("model", seed))
        model = builder(**part.options)
    if engine == "zero" and isinstance(model, nn.Module):
        from danlu.models.twin import twin

        return twin(model)
    if not isinstance(model, nn.Module) and not is_zero(model):
        got = f"{part.build}, which returned a {type(model).__name__}"
        raise RecipeError(where="model.build", got=got, want="a torch.nn.Module", fix="return the module")
    return model


def _builder(part: ModelPart) -> Callable[..., Any]:
    if is_reference(part.build):
        return load_reference(part.build, "model.build")
    if part.build not in models.BUILDERS:
        raise unknown_name(RecipeError, "model.build", part.build, models.BUILDERS, "model (or file.py:Name)")
    return models.BUILDERS[part.build]


def build_data(part: DataPart | None, seed: int) -> Data:
    """Load the data that a recipe names."""
    if part is None or not part.name:
        want = "a data set: a name, or file.py:function"
        raise RecipeError(where="data.name", got="nothing", want=want, fix="set [data] name in the recipe")
    given: dict[str, Any] = {"valid": part.valid, "stratify": part.stratify, "seed": seed}
    if is_reference(part.name):
        function = load_reference(part.name, "data.name")
        _check_keys(part, inspect.signature(function).parameters)
        check_options("data", function, part.options, own=())
        return data_room.as_data(function(**part.options), **given)
    _check_keys(part, data_room.options_of(part.name))
    return data_room.load(part.name, **given, **part.options)


def _check_keys(part: DataPart, known: Collection[str]) -> None:
    """Refuse a key of [data] that is neither its own nor an option of the data set."""
    for key in part.options:
        if key not in known:
            own = [field.name for field in dataclasses.fields(part) if field.name != "options"]
            raise unknown_name(RecipeError, f"data.{key}", key, [*own, *known], "option of [data]")


def load_objects(recipe: Settled, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the real objects that stand where a recipe names one in Python: loss, optimizer, schedule.

    Args:
        recipe: settled.
        given: objects that the caller put there; they win.

    Returns:
        `given`, and for each name such as "my.py:focal_loss" the object with the part's options bound to it: a loss
        class is called with them, an optimizer gets `lr` as well.
    """
    objects = dict(given)
    if "loss" not in objects and is_reference(recipe.loss.name):
        found = load_reference(recipe.loss.name, "loss.name")
        options = recipe.loss.options
        objects["loss"] = found(**options) if isinstance(found, type) else partial(found, **options)
    if "optim" not in objects and is_reference(recipe.optim.name):
        found = load_reference(recipe.optim.name, "optim.name")
        objects["optim"] = partial(found, lr=recipe.optim.lr, **recipe.optim.options)
    if "schedule" not in objects and recipe.schedule != "off" and is_reference(recipe.schedule.name):
        found = load_reference(recipe.schedule.name, "schedule.name")
        objects["schedule"] = partial(found, **recipe.schedule.options)
    return objects


def begin(model: Any, recipe: Settled, *, resumed: bool = False) -> Loaded | None:
    """Freeze and initialise a model, and give it the weights that its recipe starts from, unless a run is resumed.

    Args:
        model: changed in place: what `freeze`, `init` and `weights` say.
        recipe: settled.
        resumed: the run goes on from weights of its own.

    Returns:
        what came of the weights; None where there are none to load.

    Raises:
        DanluError: a rule or the weights do not fit the model.
    """
    freeze(model, recipe.freeze)
    initialise(model, recipe.init, seed=recipe.seed)
    return None if resumed else load_part(model, recipe.weights)


def build_learner(
    model: Any, recipe: Settled, objects: Mapping[str, Any], *, plan: Plan, step: Step | None = None
) -> Learner:
    """Place a model and bind it to its objective and optimizer.

    Args:
        model: of PyTorch or danlu.zero, which decides the engine; its device is changed in place.
        recipe: settled.
        objects: real objects that stand in for names, from `settle`.
        plan: the machine's part.
        step: the caller's own step, or None.
    """
    if is_zero(model):
        from danlu.train.zero_learner import ZeroLearner, ZeroParts
        from danlu.train.zero_state import Average

        shared = _shared_parts(model, recipe, objects, plan=plan, step=step)
        average = None if recipe.ema == "off" else Average(model, recipe.ema)
        return ZeroLearner(ZeroParts(**shared, ema=average), plan, recipe.seed)
    model.to(plan.device)
    shared = _shared_parts(model, recipe, objects, plan=plan, step=step)
    ema = None if recipe.ema == "off" else Ema(model, recipe.ema)
    scaler = device.grad_scaler(device.choose(plan.device), plan.precision)
    return TorchLearner(Parts(**shared, ema=ema, scaler=scaler), plan, recipe.seed)


def _shared_parts(
    model: Any, recipe: Settled, objects: Mapping[str, Any], *, plan: Plan, step: Step | None
) -> dict[str, Any]:
    """Return the parts that a learner of either engine is made of."""
    clips = recipe.optim
    return {
        "model": model,
        "objective": _objective(recipe, objects, plan),
        "optimizer": make_optimizer(objects.get("optim", recipe.optim), model),
        "step": step,
        "clip_norm": None if clips.clip_norm == "off" else clips.clip_norm,
        "clip_value": None if clips.clip_value == "off" else clips.clip_value,
    }


def build_evaluator(
    model: Any, recipe: Settled, objects: Mapping[str, Any], *, plan: Plan, step: Step | None = None
) -> Learner:
    """Bind a model to its objective alone, to evaluate or predict; nothing of the model changes but its device."""
    if is_zero(model):
        from danlu.train.zero_learner import ZeroLearner, ZeroParts

        return ZeroLearner(ZeroParts(model, _objective(recipe, objects, plan), None, step=step), plan, recipe.seed)
    model.to(plan.device)
    unused = optim.SGD([nn.Parameter()])  # a learner has an optimizer; this one never moves
    return TorchLearner(Parts(model, _objective(recipe, objects, plan), unused, step=step), plan, recipe.seed)


def load_weights(model: Any, arrays: Mapping[str, Any]) -> None:
    """Copy arrays into a model of either framework by name; raise `ModelError` where they do not fit."""
    if is_zero(model):
        from danlu.train.zero_state import load_module as load_zero

        load_zero(model, arrays)
    else:
        load_module(model, dict(arrays))


def _objective(recipe: Settled, objects: Mapping[str, Any], plan: Plan) -> Objective:
    loss = objects.get("loss", recipe.loss)
    if plan.engine == "zero":
        from danlu.train.zero_loss import named

        loss = named(loss)
    return make_objective(loss, recipe.metrics, plan.device)
