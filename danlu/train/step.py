"""PyTorch's learner: what one update is.

`update` is the only place that moves weights, and `forward` the only place that calls a model, so that a traceback
from a user's `forward` leads straight back to them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from danlu import device, keyed
from danlu.data import Batches, Sampler, Source
from danlu.data import batches as make_batches
from danlu.device import Plan
from danlu.errors import DanluError, ModelError
from danlu.objectives import Objective, check
from danlu.optim import Ema, Schedule, clip
from danlu.train.captured import capturing
from danlu.train.graph import write_graph
from danlu.train.learner import Array, Batch, Result, Tensors
from danlu.train.lone_sample import batch_norms, first_sample, one_value_per_channel
from danlu.train.parts_learner import PartsLearner
from danlu.train.planned import as_planned, compiled
from danlu.train.sums import Sums
from danlu.train.watch import Watch
from danlu.train.weights import as_array, export_parts, import_parts

Step = Callable[[nn.Module, Batch], Any]
Kept = tuple[list[tuple[Tensor, Tensor]], tuple[Tensor, dict[str, Tensor]]]  # buffers and their copies, sums


@dataclass
class Parts:
    """What a learner is made of.

    Fields:
        step: the caller's own `(model, batch) -> loss`, or a dict of named losses whose sum is minimised.
        clip_norm, clip_value: limits on the gradients, or None.
    """

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Schedule | None = None
    ema: Ema | None = None
    step: Step | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    scaler: torch.amp.GradScaler | None = None


@final
class TorchLearner(PartsLearner):
    """A `torch.nn.Module` and how it learns."""

    parts: Parts

    def __init__(self, parts: Parts, plan: Plan, seed: int) -> None:
        self.parts = parts
        self.device = torch.device(plan.device)
        self._seed = seed
        self.use(plan)
        self._clips = parts.clip_norm is not None or parts.clip_value is not None
        self.schedule_per = "off"
        self._sums = Sums(parts.objective, self.device, own_step=parts.step is not None)
        self._watch = Watch()
        self.replayed: Callable[..., Result | None] = lambda *update: None  # these two are set by `capturing`
        self.rates: device.Context = contextlib.nullcontext

    def use(self, plan: Plan) -> None:
        """Run updates as a plan says, from the next session on."""
        self.plan = plan
        self._cast = device.autocast(self.device, plan.precision) or contextlib.nullcontext
        self._model: Callable[..., Any] = compiled(self.parts.model) if plan.compiled else self.parts.model

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold the plan and exact settings; the caller's settings and generators come back at the end."""
        plan, tf32 = self.plan, self.plan.precision == "tf32"
        settings = device.exact(
            deterministic=plan.deterministic, threads=plan.threads, keep_memory=plan.keep_memory, tf32=tf32
        )
        with device.kept_generators(), settings, as_planned(self.parts, plan), capturing(self):
            device.seed_all(keyed.number("fit", self._seed))
            yield

    def seed(self, number: int) -> None:
        """Seed PyTorch's default generators, and the others where the plan says so. Cost: about 2 us, or 30."""
        device.seed(number, self.plan.generators)

    def batches(self, source: Source, batch_size: int, *, seed: int, sampler: Sampler, workers: int) -> Batches:
        """Return the source's batches on this learner's device."""
        return make_batches(source, batch_size, device=self.device, seed=seed, sampler=sampler, workers=workers)

    def update(self, batches: Sequence[Batch], on_grads: Callable[[], None] | None) -> Result:
        """Do one update: forward and backward per micro-batch, clip, step, average; add to the sums as it goes."""
        if (done := self.replayed(batches, on_grads)) is not None:
            return done
        parts, model = self.parts, self._model
        optimizer, objective, scaler = parts.optimizer, parts.objective, parts.scaler
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        weigh = self._weigher(batches) if len(batches) > 1 else None
        kept = self._keep() if self.skips_bad else None
        samples = 0
        for batch in batches:
            with self._cast():
                if parts.step is None:
                    output = forward(model, batch[0])
                    loss = objective.loss(output, batch[1])
                else:
                    output, loss = None, self._own_step(parts.step, batch, model)
            minimised = loss if weigh is None else weigh(loss, batch)
            (minimised if scaler is None else scaler.scale(minimised)).backward()  # type: ignore[no-untyped-call]
            size = count(batch)
            self._watch.note(self._sums.add(loss, output, batch[1], size))
            samples += size
        if self.after_backward is not None:
            self.after_backward()
        if kept is not None and self._taken_back(kept):
            return Result(loss.detach(), samples, output, skipped=True)
        self._grads_ready(on_grads)
        if scaler is None:
            with self.rates():
                optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        if parts.ema is not None:
            parts.ema.update(parts.model)
        self._watch.done()
        return Result(loss.detach(), samples, output)

    def _weigher(self, batches: Sequence[Batch]) -> Callable[[Tensor, Batch], Tensor]:
        """Return what makes a micro-batch's loss its part of the whole update's: its sum over the true denominator.

        An own step, like any loss that is opaque, is weighted by samples.
        """
        function = self.parts.objective.loss
        if self.parts.step is not None or not function.exact:
            samples = sum(map(count, batches))
            return lambda loss, batch: loss * (count(batch) / samples)
        if function.reduction == "sum":
            return lambda loss, batch: loss
        total = sum(function.denominator(target) for _, target in batches)
        return lambda loss, batch: function.total(loss, function.denominator(batch[1])) / total

    def _own_step(self, step: Step, batch: Batch, model: Any) -> Tensor:
        loss = step(model, batch)
        if isinstance(loss, dict):
            self._sums.add_named(loss, count(batch))
            loss = torch.stack(list(loss.values())).sum()
        return loss  # type: ignore[no-any-return]

    def _grads_ready(self, on_grads: Callable[[], None] | None) -> None:
        parts = self.parts
        if not self._clips and on_grads is None:
            return
        if parts.scaler is not None:
            parts.scaler.unscale_(parts.optimizer)
        if self._clips:
            moved = [p for group in parts.optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = clip(moved, norm=parts.clip_norm, value=parts.clip_value)
            if norm is not None and parts.scaler is None:
                self._watch.note(norm, "gradient norm")
        if on_grads is not None:
            on_grads()

    def _keep(self) -> Kept:
        """Copy what forward and backward change besides the gradients: buffers and sums."""
        return [(buffer, buffer.clone()) for buffer in self.parts.model.buffers()], self._sums.keep()

    def _taken_back(self, kept: Kept) -> bool:
        """Where the loss or a gradient is not finite, take the update back. Cost: one sync."""
        values = self._watch.running()
        if self.parts.scaler is None:
            values.append(self._gradient_norm())
        bad = not bool(torch.stack(values).isfinite().all())
        if bad:
            for buffer, copy in kept[0]:
                buffer.copy_(copy)
            self._sums.put_back(kept[1])
            self._watch.forget()
            self._watch.done()
        return bad

    def _gradient_norm(self) -> Tensor:
        moved = [p.grad for group in self.parts.optimizer.param_groups for p in group["params"] if p.grad is not None]
        return get_total_norm([grad.coalesce().values() if grad.is_sparse else grad for grad in moved])

    def gradients_finite(self) -> bool:
        """Read the gradients' norm."""
        return self.parts.scaler is not None or bool(self._gradient_norm().isfinite())

    def weights_finite(self) -> bool:
        """Read whether all weights are finite, in one copy."""
        found = [p.detach().isfinite().all() for p in self.parts.model.parameters() if p.requires_grad]
        return not found or bool(torch.stack(found).all())

    def gradients(self) -> dict[str, Array]:
        """Copy the gradients, without the loss scale."""
        scaler, named = self.parts.scaler, self.parts.model.named_parameters()
        scale = 1.0 if scaler is None else float(scaler.get_scale())
        dense = {name: p.grad.to_dense() for name, p in named if p.grad is not None}
        return {name: as_array(grad.clone()) / scale for name, grad in dense.items()}

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold evaluation mode, no gradients and a seed of its own; every module's own mode comes back."""
        model = self._evaluated()
        training = [module for module in model.modules() if module.training]
        self._sums.begin_evaluation()
        with torch.no_grad(), device.kept_generators():
            try:
                model.eval()
                device.seed_torch(keyed.number("evaluate", self._seed))
                yield
            finally:
                for module in training:
                    module.training = True
                self._sums.end_evaluation()

    def evaluate(self, batch: Batch) -> Result:
        """Add one batch to the evaluation sums; inside `evaluating`."""
        parts, model = self.parts, self._evaluated()
        with self._cast():
            if parts.step is None:
                output = forward(model, batch[0])
                loss = parts.objective.loss(output, batch[1])
            else:
                output, loss = None, self._own_step(parts.step, batch, model)
        samples = count(batch)
        self._sums.add(loss, output, batch[1], samples, evaluating=True)
        return Result(loss, samples, output)

    def predict(self, batch: Batch) -> Array:
        """Return probabilities or values for one batch; inside `evaluating`."""
        with self._cast():
            output = forward(self._evaluated(), batch[0])
        return self.array(self.parts.objective.probabilities(output))

    def check(self, batch: Batch, name: str) -> list[str]:
        """Run one batch through model and loss in evaluation mode, changing nothing."""
        step = self.parts.step
        with self.evaluating(), self._cast():
            try:
                output = forward(self._evaluated(), batch[0]) if step is None else step(self._evaluated(), batch)
            except DanluError:
                raise
            except Exception as error:
                if device.is_exhausted(error):
                    raise
                raise misfit(error, batch, name) from error
            if step is not None:
                return _check_step(output)
            warnings = check(self.parts.objective.loss, output, batch[1])
            self._sums.prepare(output, batch[1])
        return warnings

    def lone_sample_refused(self, batch: Batch) -> str | None:
        """Return a BatchNorm layer that would see one value per channel in a training batch of one sample, or None."""
        model, step, one = self._evaluated(), self.parts.step, first_sample(batch)
        layers = batch_norms(model)
        if not layers:
            return None
        with one_value_per_channel(layers) as found, self.evaluating(), self._cast():
            try:
                forward(model, one[0]) if step is None else step(model, one)
            except Exception as error:
                raise misfit(error, one, "one-sample") from error
        return next(iter(found), None)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return weights, buffers, optimizer, schedule, average, scaler and the sums of the current epoch."""
        tensors, values = export_parts(self.parts)
        tensors["sums"] = self._sums.state()
        return tensors, values

    def load(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Take back what `state` returned, by copying into the live tensors."""
        import_parts(self.parts, tensors, values)
        self._sums.load(tensors["sums"])

    def snapshot(self) -> object:
        """Return a copy of the evaluated weights, on their device."""
        return {name: tensor.detach().clone() for name, tensor in self._evaluated().state_dict().items()}

    def restore(self, snapshot: object) -> None:
        """Copy a snapshot into the evaluated model, and into the trained one too."""
        for module in {self._evaluated(), self.parts.model}:
            module.load_state_dict(snapshot)

    def parameters(self) -> dict[str, Array]:
        """Return the evaluated model's parameters by name."""
        return {name: as_array(parameter) for name, parameter in self._evaluated().named_parameters()}

    def array(self, tensor: Any) -> Array:
        """Return a tensor as a NumPy array on the host."""
        return as_array(tensor)

    def draw_graph(self, folder: Path, batch: Batch) -> None:
        """Write the model's graph for TensorBoard, from a copy in evaluation mode."""
        with device.kept_generators():
            write_graph(self._evaluated(), batch[0], folder)


def forward(model: Callable[..., Any], inputs: Any) -> Any:
    """Call the model as its inputs ask for: one tensor, several, or several by name."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs)


def count(batch: Batch) -> int:
    """Return the number of samples in a batch: the length of its first tensor."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch.shape[0]


def _check_step(loss: Any) -> list[str]:
    values = loss.values() if isinstance(loss, dict) else [loss]
    for value in values:
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            want = "one number as a 0-d tensor, or a dict of them"
            raise ModelError(where="step", got=got, want=want, fix="return loss.mean() from your step")
    return []


def misfit(error: Exception, batch: Batch, name: str) -> ModelError:
    """Return the error for a model that fails on a batch of the set `name`."""
    if (refused := without_kernel(error)) is not None:
        return refused
    inputs = batch[0]
    tensors = [inputs] if isinstance(inputs, Tensor) else inputs.values() if isinstance(inputs, dict) else inputs
    shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors)
    reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")
    want = f"a model that takes the {name} inputs, {shapes}"
    return ModelError(
        where="model", got=reason, want=want, fix="run `danlu check` to see every layer's shapes, and mend it"
    )


def without_kernel(error: Exception) -> ModelError | None:
    """Return the error for an operation that has no deterministic kernel, where this is what `error` says."""
    got, found, _ = str(error).partition(" does not have a deterministic implementation")
    if not found:
        return None
    got = f"{got.split()[-1]}, an operation without a deterministic kernel"
    fix = "use another operation, or set deterministic = false: a resumed run is close then, not equal"
    return ModelError(where="model", got=got, want="operations that give the same bits every time", fix=fix)
