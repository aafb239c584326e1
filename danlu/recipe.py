"""The recipe: one schema for a whole experiment, the same from Python, from TOML and from `--set`.

A `Part` is a named thing with options of its own: `Optim("sgd", lr=0.1, momentum=0.9)` in Python is
`[optim]`, `name = "sgd"`, `lr = 0.1`, `momentum = 0.9` in TOML. The schema knows a part's own fields; every other key
goes into `options` and is checked against the signature of what the name builds.

From Python a real object (a loss module, an optimizer factory, a callable) may stand wherever a name does: `settle`
keeps it beside the schema, and the stored recipe says where it came from. How text becomes a recipe, and how a
mistake becomes one line, is in `recipe_text.py`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

Off = Literal["off"]
Unit = Literal["epoch", "update"]
Way = Literal["threads", "keep_memory", "channels_last", "fused", "foreach", "compile", "precision", "capture"]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Pace = Annotated[float, Meta(gt=0, le=1e12)]
Wait = Annotated[float, Meta(ge=0, le=3600)]
PartOrAll = Annotated[float, Meta(gt=0, le=1)]
Least = Annotated[float, Meta(ge=0, le=1)]


@dataclass(init=False)
class Part:
    """A named thing and its options. Abstract: the classes below say which fields are the recipe's own."""

    options: dict[str, Any] = field(default_factory=dict)

    head: ClassVar[str] = "name"  # the field that a bare string fills

    def __init__(self, *head: str, **given: Any) -> None:
        if len(head) > 1 or (head and self.head in given):
            raise TypeError(f"{type(self).__name__} takes one {self.head}, and everything else by keyword")
        if head:
            given[self.head] = head[0]
        for own in dataclasses.fields(self):
            made = own.default_factory
            default = own.default if made is dataclasses.MISSING else made()
            setattr(self, own.name, given.pop(own.name, default))
        self.options = {**self.options, **given}


@dataclass(init=False)
class Model(Part):
    """`build`: `"mlp"`, `"package.module:name"` or `"file.py:Name"`; the options are its arguments."""

    head: ClassVar[str] = "build"
    build: str = ""


class Normalise(msgspec.Struct, forbid_unknown_fields=True):
    """What is done to inputs after uint8 pixels have become 0 to 1: minus `mean`, divided by `std`.

    Fields:
        mean, std: one number, or one for each channel (entry of dim 1).
    """

    mean: float | list[float] = 0.0
    std: Positive | list[Positive] = 1.0


@dataclass(init=False)
class Augment(Part):
    """One random change of training samples. `name`: "random_crop", "horizontal_flip" and so on, with its options."""

    name: str = ""


@dataclass(init=False)
class Weights(Part):
    """`source`: what training starts from: a run's folder, a checkpoint's, or a safetensors file.

    Fields:
        at: of a run: "best", "last", or an update's number.
        rename: patterns over the source's names and what stands instead: "encoder.*" = "backbone.*"; "" leaves out.
        partial: load what fits, where names are missing, unexpected, or of another shape.
        least: share of the model's parameters that a partial source must have.
        allow_pickle: "weights-only" reads the tensors, and nothing else, of a file by `torch.save`.
    """

    head: ClassVar[str] = "source"
    source: str = ""
    at: Whole | str = "best"
    rename: dict[str, str] = field(default_factory=dict)
    partial: bool = False
    least: Least = 0.5
    allow_pickle: Literal["weights-only"] | Off = "off"


@dataclass(init=False)
class Data(Part):
    """`name`: a data set's name, `"file.py:function"` that returns data, or a stored set's folder.

    The options are the arguments of what it names.

    Fields:
        valid: share of the training samples held out for validation, where the data set brings none of its own.
        stratify: hold out the same share of every class.
        workers: processes that fetch samples, for a `Dataset`, or threads, for pictures in files; arrays need none.
        sampler: "shuffle", "in_order", "balanced" (each class equally likely, drawn with replacement), or, for a
            stored set, "block_shuffle" (in random order within windows of neighbours, quick to read); "shuffle" becomes
            that where a stored set of small samples does not fit in memory, and the run's own recipe.toml then says so.
        bad_samples: what becomes of samples of a `Dataset` that cannot be fetched or do not fit: "raise" ends the run,
            "skip" leaves them out, "replace" puts others, drawn at random, in their place.
        bad_quota: how many of a set may be bad before the run stops: a number (3) or a share of the set (0.01).
        normalise: subtract a mean from the inputs of every set and divide by a standard deviation; true computes both
            from the training set, once, and the run's own recipe.toml then holds the numbers.
    """

    name: str = ""
    valid: Share | Literal["default"] = "default"
    stratify: bool | Literal["default"] = "default"
    workers: Whole = 0
    sampler: Literal["shuffle", "in_order", "balanced", "block_shuffle"] = "shuffle"
    bad_samples: Literal["raise", "skip", "replace"] = "raise"
    bad_quota: Count | PartOrAll = 0.01
    normalise: Normalise | bool = False


@dataclass(init=False)
class Init(Part):
    """One initialisation rule. `name`: "xavier_uniform" and so on; the options are its arguments.

    Fields:
        layers: class names of layers ("Linear", "Conv2d"); empty means every layer.
        names: parameter name patterns ("*.weight"); empty means "*weight".
    """

    name: str = ""
    layers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass(init=False)
class Loss(Part):
    """`name`: "cross_entropy" and so on; the options are PyTorch's own (`weight`, `ignore_index`, ...)."""

    name: str = "cross_entropy"


@dataclass(init=False)
class Metric(Part):
    """`name`: "accuracy" and so on; the options are the metric's own (`k` for "top_k_accuracy")."""

    name: str = ""


@dataclass(init=False)
class Optim(Part):
    """`name`: "sgd", "adamw" and so on; the options are PyTorch's own (`momentum`, `betas`, `weight_decay`, ...).

    Fields:
        lr: learning rate.
        no_decay: names of parameters that get no weight decay: "bias", "norm" (normalisation layers), or patterns.
        groups: tables of `names` (patterns) and the options that differ for them, `lr` among them; first match wins.
        clip_norm: largest joint L2 norm of all gradients. clip_value: largest absolute value of any gradient.
    """

    name: str = "sgd"
    lr: Positive = 0.1
    no_decay: list[str] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    clip_norm: Positive | Off = "off"
    clip_value: Positive | Off = "off"


@dataclass(init=False)
class Schedule(Part):
    """`name`: "step", "cosine", "plateau" and so on; the options are PyTorch's own, in the unit that `per` says.

    Fields:
        per: the unit of one step, "epoch" or "update".
        warmup: units over which lr rises linearly, before the schedule proper begins.
        warmup_start: share of lr at which the warm-up starts.
        monitor: the metric that "plateau" follows, such as "valid/loss".
    """

    name: str = "cosine"
    per: Unit = "epoch"
    warmup: Whole = 0
    warmup_start: NotNegative = 0.0
    monitor: str = "valid/loss"


class EarlyStop(msgspec.Struct, forbid_unknown_fields=True):
    """Stop when the monitored metric has not improved for `patience` evaluations.

    Fields:
        patience: evaluations without improvement that are allowed.
        min_delta: smallest change that counts as improvement.
        restore_best: put the best weights back before the run ends.
    """

    patience: Count = 5
    min_delta: NotNegative = 0.0
    restore_best: bool = True


class Checkpoints(msgspec.Struct, forbid_unknown_fields=True):
    """When the state is saved, besides the start, every best evaluation and the end.

    Fields:
        every, per: so many updates, epochs or minutes.
        keep: how many of the newest are kept, besides the best.
        keep_every: one is also saved, and kept for good, every so many updates, epochs or minutes, as `per` says.
        best: save and keep the best.
        retries, retry_s: how often a save that the disk refuses is tried again, and the seconds before each time, at
            most an hour.
    """

    every: Pace = 5.0
    per: Literal["update", "epoch", "minute"] = "minute"
    keep: Count = 1
    keep_every: Count | Off = "off"
    best: bool = True
    retries: Whole = 3
    retry_s: Wait = 10.0


if TYPE_CHECKING:  # what a caller may write; `settle` turns it into the schema's type
    LossLike = Loss | str | Callable[..., Any]
    MetricsLike = Sequence[Metric | str]
    AugmentLike = Sequence[Augment | str]
    OptimLike = Optim | str | Callable[..., Any]
    ScheduleLike = Schedule | str | Callable[..., Any]
    ModelLike = Model | str | None
    WeightsLike = Weights | str
    DataLike = Data | str | None
else:
    LossLike, MetricsLike, OptimLike, AugmentLike = Loss, list[Metric], Optim, list[Augment]
    ScheduleLike, ModelLike, DataLike = Schedule | Off, Model | None, Data | None
    WeightsLike = Weights | Off


class Recipe(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A whole experiment. Every field has a default but `model` and `data`, which the command line needs.

    Fields whose meaning is not their name:
        engine: what computes: PyTorch, or danlu.zero, in NumPy; a model of danlu.zero decides it by itself.
        weights: what training starts from, read after `init`; a resumed run goes on from its own instead.
        augment: random changes of training samples, in this order; each sample has its own in each epoch.
        init, freeze: rules and parameter-name patterns applied to the model before training.
        epochs, updates, minutes: training stops at whichever comes first.
        accumulate: micro-batches of `batch_size` samples that make one update.
        ema: decay of an exponential moving average of the weights; evaluation then uses the average.
        validate_every, validate_per: evaluate every so many epochs or updates.
        monitor: the metric that decides which weights are best; "auto" is valid/accuracy, else valid/loss.
        monitor_mode: whether more is better; "auto" knows it from the metric's name.
        limit_batches: use only so many batches of every set, to try a recipe out.
        overfit_one_batch: train and evaluate on the first batch alone.
        precision: "tf32" rounds the factors of float32 products on CUDA; "auto" allows "tf32" and "bf16", where the
            hardware has units for them and timing shows that they pay.
        plan: how this machine runs the updates: "auto" times several ways and pins the fastest in plan.json, "eager"
            is PyTorch as it comes, and a path to a plan.json repeats another run's choice.
        plan_without: ways that are not tried.
        replan: search anew, where an earlier search is remembered, or where the plan of a file cannot run here.
        retime: where updates become slower in mid-run, change the number of threads though it changes the last bits.
        deterministic: same seed, plan and machine, same bits.
        rehearse: before training, try out on two updates whether a killed run could be resumed exactly.
        log_every: updates between two rows of the running loss.
        on_nan: what to do where the loss or a gradient is NaN or infinite: stop the run, skip the update (it costs one
            wait for the device per update), or record it and go on.
    """

    about: str = ""
    engine: Literal["torch", "zero"] = "torch"
    seed: Whole = 0
    model: ModelLike = None
    weights: WeightsLike = "off"
    data: DataLike = None
    augment: AugmentLike = []
    init: list[Init] = []
    freeze: list[str] = []
    loss: LossLike = msgspec.field(default_factory=Loss)
    metrics: MetricsLike = []
    optim: OptimLike = msgspec.field(default_factory=Optim)
    schedule: ScheduleLike = "off"
    early_stop: EarlyStop | Off = "off"
    checkpoints: Checkpoints | Off = msgspec.field(default_factory=Checkpoints)
    epochs: Count | Off = 10
    updates: Count | Off = "off"
    minutes: Positive | Off = "off"
    batch_size: Count = 32
    eval_batch_size: Count | Literal["auto"] = "auto"
    accumulate: Count = 1
    ema: Share | Off = "off"
    validate_every: Count = 1
    validate_per: Unit = "epoch"
    monitor: str = "auto"
    monitor_mode: Literal["auto", "max", "min"] = "auto"
    limit_batches: Count | Off = "off"
    overfit_one_batch: bool = False
    device: str = "auto"
    precision: Literal["float32", "tf32", "bf16", "fp16", "auto"] = "float32"
    threads: Count | Literal["auto"] = "auto"
    plan: str = "auto"
    plan_without: list[Way] = []
    replan: bool = False
    retime: bool = False
    deterministic: bool = True
    rehearse: bool = True
    log_every: Count = 50
    on_nan: Literal["stop", "skip", "record"] = "stop"
    tensorboard: bool = True


if TYPE_CHECKING:

    class Settled(Recipe):
        """A checked recipe in the schema's own types, no bare names and no real objects; `settle` gives it."""

        model: Model | None
        weights: Weights | Off
        data: Data | None
        augment: list[Augment]
        loss: Loss
        metrics: list[Metric]
        optim: Optim
        schedule: Schedule | Off
else:
    Settled = Recipe


PARTS: dict[str, type[Part]] = {
    "model": Model,
    "weights": Weights,
    "data": Data,
    "augment": Augment,
    "init": Init,
    "loss": Loss,
    "metrics": Metric,
    "optim": Optim,
    "schedule": Schedule,
}
