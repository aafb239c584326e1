"""Learning-rate schedules: PyTorch's own classes behind one step, with a warm-up before them."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, final

from torch import Tensor
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from danlu.errors import RecipeError, TrainingError, unknown_name
from danlu.optim.framework import framework_of
from danlu.optim.options import REFUSALS, check_options, refused
from danlu.optim.plain import decode, encode
from danlu.recipe import Schedule as ScheduleSpec

Factory = Callable[[Optimizer], LRScheduler]

SCHEDULES: dict[str, type[LRScheduler]] = {
    "step": torch_schedules.StepLR,
    "multi_step": torch_schedules.MultiStepLR,
    "exponential": torch_schedules.ExponentialLR,
    "cosine": torch_schedules.CosineAnnealingLR,
    "cosine_restarts": torch_schedules.CosineAnnealingWarmRestarts,
    "linear": torch_schedules.LinearLR,
    "polynomial": torch_schedules.PolynomialLR,
    "constant": torch_schedules.ConstantLR,
    "one_cycle": torch_schedules.OneCycleLR,
    "lambda": torch_schedules.LambdaLR,
    "plateau": ReduceLROnPlateau,
}
_LENGTHS = {"cosine": "T_max", "one_cycle": "total_steps"}  # the option that the run's length stands in for
_AT_LEAST_ONE = ("step_size", "T_max")  # PyTorch itself divides by them without a look


@final
class Schedule:
    """The learning rates of an optimizer's groups as the run goes on; `make_schedule` makes one.

    Attributes:
        per: the unit of one step, "epoch" or "update".
        monitor: the metric whose value `step` wants; None for every schedule but "plateau".
        units_done: how many steps were made.
    """

    def __init__(
        self,
        scheduler: LRScheduler,
        optimizer: Optimizer,
        *,
        per: Literal["epoch", "update"],
        monitor: str | None = None,
        warmup: int = 0,
        warmup_start: float = 0.0,
    ) -> None:
        self.per, self.monitor, self.units_done = per, monitor, 0
        self._scheduler, self._optimizer = scheduler, optimizer
        self._advance: Callable[..., None] = scheduler.step
        self._warmup, self._warmup_start = warmup, warmup_start
        self._first = self.lrs()
        bases = self._first if _is_plateau(scheduler) else getattr(scheduler, "base_lrs", self._first)
        self._bases = [float(base) for base in bases]
        self._at_start = _progress(scheduler)
        # PyTorch warns where it did not see an update before the first step, as under a captured or skipped update
        optimizer._opt_called = True  # type: ignore[attr-defined]
        if warmup:
            self._warm_up()

    def step(self, value: float | None = None) -> None:
        """Count one unit as done and set the learning rates of the next one.

        Args:
            value: the monitored metric, for "plateau" alone; None where this unit had no evaluation, which leaves
                the plateau as it was.

        Raises:
            TrainingError: the schedule has an end, and the run is past it.
        """
        self.units_done += 1
        if self.units_done <= self._warmup:
            self._warm_up()
        elif self.monitor is None:
            try:
                self._advance()
            except ValueError as error:
                fix = "make the schedule as long as the run"
                raise TrainingError(
                    where="schedule", got=str(error), want="a unit within the schedule", fix=fix
                ) from error
        elif value is not None:
            self._advance(value)

    def lrs(self) -> list[float]:
        """Return the learning rate of each parameter group; one that is a tensor on a device is read, which syncs."""
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the progress, in plain values: what has changed since the schedule was made, not its options.

        Raises:
            TrainingError: a caller's own scheduler holds something that cannot be saved.
        """
        try:
            now = _progress(self._scheduler)
        except TypeError as error:
            fix = "keep numbers, text, lists or dicts in the scheduler"
            raise TrainingError(where="schedule", got=str(error), want="plain values to save", fix=fix) from None
        moved = {key: value for key, value in now.items() if key not in self._at_start or value != self._at_start[key]}
        return {"units_done": self.units_done, "lrs": self.lrs(), "scheduler": moved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, learning rates included; the options stay this schedule's own."""
        self.units_done = state["units_done"]
        self._scheduler.load_state_dict(decode({**self._at_start, **state["scheduler"]}))
        self._set(state["lrs"])

    def _warm_up(self) -> None:
        """Set the rates of a unit of the warm-up, or those of the schedule's own first unit after its last one."""
        if self.units_done == self._warmup:
            self._set(self._first)
            return
        done = (self.units_done + 1) / (self._warmup + 1)  # never 0, so that no unit of the run is wasted
        share = self._warmup_start + (1.0 - self._warmup_start) * done
        self._set([share * base for base in self._bases])

    def _set(self, lrs: list[float]) -> None:
        for group, lr in zip(self._optimizer.param_groups, lrs, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def make_schedule(spec: ScheduleSpec | Factory, optimizer: Optimizer, *, horizon: int | None) -> Schedule:
    """Build the schedule of an optimizer's learning rates, and set those of the first unit.

    During the first `warmup` units each rate rises on a line from `warmup_start * lr`, one step above which unit 0
    stands, to lr: unit u has the share (u + 1) / (warmup + 1) of the way. Unit `warmup` is the schedule's own step 0.

    Args:
        spec: the recipe's schedule, or `optimizer -> LRScheduler`, which then steps once per epoch.
        optimizer: its groups' `lr` are the base; "one_cycle" also moves momentum.
        horizon: the run's length in the schedule's unit; None where nobody knows. The cosine's `T_max` and the one
            cycle's `total_steps` are by default what the warm-up leaves of it.

    Raises:
        RecipeError: an unknown name or option, a missing one, or a value that PyTorch refuses.
    """
    if not isinstance(spec, ScheduleSpec):
        return _from_factory(spec, optimizer)
    if spec.name not in SCHEDULES:
        raise unknown_name(RecipeError, "schedule.name", spec.name, SCHEDULES, "schedule")
    target = getattr(framework_of(optimizer).optim.lr_scheduler, SCHEDULES[spec.name].__name__)
    options = _options(spec, optimizer, horizon)
    build: Callable[..., LRScheduler] = target
    try:
        scheduler = build(optimizer, **options)
    except REFUSALS as error:
        raise refused(_blamed(error, spec.options), target, spec.options, error) from error
    monitor = spec.monitor if spec.name == "plateau" else None
    return _settled(scheduler, optimizer, per=spec.per, monitor=monitor, warmup=spec.warmup, start=spec.warmup_start)


def changes_with_horizon(spec: ScheduleSpec | Factory) -> bool:
    """Whether the run's length shapes the curve, so that another length means other learning rates from the start."""
    if not isinstance(spec, ScheduleSpec) or spec.name not in _LENGTHS:
        return False
    by_hand = spec.name == "one_cycle" and {"epochs", "steps_per_epoch"} <= spec.options.keys()
    return _LENGTHS[spec.name] not in spec.options and not by_hand


def _options(spec: ScheduleSpec, optimizer: Optimizer, horizon: int | None) -> dict[str, Any]:
    """Return the options with what the run itself says filled in."""
    options = dict(spec.options)
    if changes_with_horizon(spec):
        options[_LENGTHS[spec.name]] = _length(spec, horizon)
    if spec.name == "one_cycle":
        options.setdefault("max_lr", [float(group["lr"]) for group in optimizer.param_groups])
    check_options("schedule", SCHEDULES[spec.name], options, own=("optimizer", "last_epoch", "verbose"))
    for name in _AT_LEAST_ONE:
        if options.get(name, 1) < 1:
            where = f"schedule.{name}"
            raise RecipeError(where=where, got=options[name], want="a whole number >= 1", fix=f"set {where}")
    if spec.name == "lambda":
        _check_callables(options["lr_lambda"])
    return options


def _length(spec: ScheduleSpec, horizon: int | None) -> int:
    where = f"schedule.{_LENGTHS[spec.name]}"
    if horizon is None:
        want = f"the schedule's length in {spec.per}s, because the run's own is not known"
        raise RecipeError(where=where, got="nothing", want=want, fix=f"set {where}, or the run's epochs or updates")
    if horizon <= spec.warmup:
        got, want = f"{spec.warmup} {spec.per}s of {horizon}", "a warm-up shorter than the run"
        raise RecipeError(where="schedule.warmup", got=got, want=want, fix=f"set schedule.warmup, or {where}")
    return horizon - spec.warmup


def _check_callables(given: object) -> None:
    functions = given if isinstance(given, (list, tuple)) else [given]
    if not all(callable(function) for function in functions):
        want = "a Python callable `step -> factor`, or a list of them, one for each parameter group"
        fix = 'pass Schedule("lambda", lr_lambda=...) from Python'
        raise RecipeError(where="schedule.lr_lambda", got=repr(given), want=want, fix=fix)


def _blamed(error: Exception, options: Mapping[str, Any]) -> str:
    """Return the place of the option that PyTorch's message speaks of; the longest name is the one it means."""
    said = str(error).lower()
    spoken = [name for name in options if name.lower() in said or name.lower().replace("_", " ") in said]
    return f"schedule.{max(spoken, key=len)}" if spoken else "schedule"


def _from_factory(factory: object, optimizer: Optimizer) -> Schedule:
    if not callable(factory):
        want, fix = "a name or `optimizer -> LRScheduler`", 'write Schedule("cosine")'
        raise RecipeError(where="schedule", got=factory, want=want, fix=fix)
    built: object = factory(optimizer)
    kind = framework_of(optimizer).optim.lr_scheduler.LRScheduler
    if not isinstance(built, kind):
        want = f"a {kind.__module__}.LRScheduler"
        got = f"a {type(built).__name__} from the factory"
        raise RecipeError(where="schedule", got=got, want=want, fix="return the scheduler itself")
    monitor = ScheduleSpec().monitor if _is_plateau(built) else None
    return _settled(built, optimizer, per="epoch", monitor=monitor, warmup=0, start=0.0)


def _is_plateau(scheduler: object) -> bool:
    return isinstance(scheduler, framework_of(scheduler).optim.lr_scheduler.ReduceLROnPlateau)


def _settled(
    scheduler: LRScheduler, optimizer: Optimizer, *, per: str, monitor: str | None, warmup: int, start: float
) -> Schedule:
    unit = cast(Literal["epoch", "update"], per)
    try:
        return Schedule(scheduler, optimizer, per=unit, monitor=monitor, warmup=warmup, warmup_start=start)
    except (TypeError, AttributeError) as error:  # the state of a scheduler, or of its callable objects
        fix = "keep numbers, text, lists or dicts in the scheduler and its callables"
        raise RecipeError(where="schedule", got=str(error), want="a scheduler that can be saved", fix=fix) from error


def _progress(scheduler: LRScheduler) -> dict[str, Any]:
    """Return a scheduler's state in plain values, without the learning rates, which are kept on their own."""
    state = scheduler.state_dict()
    return {key: encode(_numbers(value)) for key, value in state.items() if key not in ("_last_lr", "optimizer")}


def _numbers(value: object) -> object:
    """Return learning rates that are tensors as numbers."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
