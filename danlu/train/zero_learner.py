"""The learner of danlu.zero: what one update is, in NumPy.

The batches, the order, the loop and the figures are those of the PyTorch engine; here a batch's tensors become
danlu.zero's without a copy, and what the model returns goes to the metrics without one.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from danlu import device, keyed, zero
from danlu.data import Batches, Sampler, Source
from danlu.data import batches as make_batches
from danlu.device import Plan
from danlu.errors import DanluError, ModelError
from danlu.objectives import Objective, check
from danlu.optim import Schedule
from danlu.train.learner import Array, Batch, Result, Tensors
from danlu.train.lone_sample import first_sample, one_value_per_channel
from danlu.train.parts_learner import PartsLearner
from danlu.train.step import count, misfit
from danlu.train.sums import Sums
from danlu.train.watch import Watch
from danlu.train.zero_graph import write_graph
from danlu.train.zero_loss import loss_of
from danlu.train.zero_state import Average, copied_into, export_parts, import_parts

Step = Callable[[Any, Batch], Any]
Kept = tuple[list[tuple[Array, Array]], tuple[Tensor, dict[str, Tensor]]]  # buffers and their copies, sums


@dataclass
class ZeroParts:
    """What a learner of danlu.zero is made of; the fields are those of the PyTorch learner's `Parts`."""

    model: Any
    objective: Objective
    optimizer: Any
    schedule: Schedule | None = None
    ema: Average | None = None
    step: Step | None = None
    clip_norm: float | None = None
    clip_value: float | None = None


@final
class ZeroLearner(PartsLearner):
    """A `danlu.zero.nn.Module` and how it learns."""

    parts: ZeroParts

    def __init__(self, parts: ZeroParts, plan: Plan, seed: int) -> None:
        self.parts, self.plan = parts, plan
        self.schedule_per = "off"
        self._seed = seed
        self._loss = loss_of(parts.objective.loss)
        self._sums = Sums(parts.objective, torch.device("cpu"), own_step=parts.step is not None)
        self._watch = Watch()

    def use(self, plan: Plan) -> None:
        """Run updates as a plan says, from the next session on."""
        self.plan = plan

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold the plan's threads; the caller's settings and generators come back at the end."""
        plan = self.plan
        generators = device.kept_generators(), kept_generator()
        settings = device.exact(deterministic=plan.deterministic, threads=plan.threads)
        quiet = np.errstate(all="ignore")  # a number that is not finite is found by `bad_updates`
        with generators[0], generators[1], settings, device.blas_threads(plan.threads), quiet:
            device.seed_all(keyed.number("fit", self._seed))
            zero.manual_seed(keyed.number("fit", self._seed))
            yield

    def seed(self, number: int) -> None:
        """Seed danlu.zero's default generator, and the others as the plan says."""
        zero.manual_seed(number)
        device.seed(number, self.plan.generators)

    def batches(self, source: Source, batch_size: int, *, seed: int, sampler: Sampler, workers: int) -> Batches:
        """Return the source's batches, as tensors on the CPU."""
        return make_batches(source, batch_size, device="cpu", seed=seed, sampler=sampler, workers=workers)

    def update(self, batches: Sequence[Batch], on_grads: Callable[[], None] | None) -> Result:
        """Do one update: forward and backward per micro-batch, clip, step, average; add to the sums as it goes."""
        parts = self.parts
        parts.optimizer.zero_grad()
        weigh = self._weigher(batches) if len(batches) > 1 else None
        kept = self._keep() if self.skips_bad else None
        samples = 0
        for batch in batches:
            output, loss, size = self._forward(parts.model, batch)
            minimised = loss if weigh is None else weigh(loss, batch)
            if minimised is not None:
                minimised.backward()
            self._watch.note(self._sums.add(as_torch(loss), as_torch(output), batch[1], size))
            samples += size
        if self.after_backward is not None:
            self.after_backward()
        if kept is not None and self._taken_back(kept):
            return Result(loss.detach(), samples, output, skipped=True)
        if parts.clip_norm is not None or parts.clip_value is not None:
            self._clip()
        if on_grads is not None:
            on_grads()
        parts.optimizer.step()
        if parts.ema is not None:
            parts.ema.update(parts.model)
        self._watch.done()
        return Result(loss.detach(), samples, output)

    def _forward(self, model: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Return output, loss and samples; an own step hides the output."""
        samples = count(batch)
        if self.parts.step is None:
            output = forward(model, as_zero(batch[0]))
            return output, self._loss(output, as_zero(batch[1])), samples
        loss = self.parts.step(model, as_zero(batch))
        if isinstance(loss, dict):
            self._sums.add_named({name: as_torch(value) for name, value in loss.items()}, samples)
            loss = sum(loss.values())
        return None, loss, samples

    def _weigher(self, batches: Sequence[Batch]) -> Callable[[Any, Batch], Any]:
        """Return what makes a micro-batch's loss its part of the whole update's: its sum over the true denominator.

        None comes back for a micro-batch whose every target is ignored: its mean is 0/0 and weighs nothing.
        """
        function = self.parts.objective.loss
        if self.parts.step is not None or not function.exact:
            samples = sum(map(count, batches))
            return lambda loss, batch: loss * (count(batch) / samples)
        if function.reduction == "sum":
            return lambda loss, batch: loss
        total = sum(float(function.denominator(target)) for _, target in batches)

        def weigh(loss: Any, batch: Batch) -> Any:
            part = float(function.denominator(batch[1]))
            return loss * (part / total) if part else None

        return weigh

    def _clip(self) -> None:
        parts = self.parts
        moved = [p for group in parts.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if parts.clip_norm is not None:
            self._watch.note(as_torch(zero.nn.utils.clip_grad_norm_(moved, parts.clip_norm)), "gradient norm")
        if parts.clip_value is not None:
            zero.nn.utils.clip_grad_value_(moved, parts.clip_value)

    def _keep(self) -> Kept:
        """Copy what forward and backward change besides the gradients: buffers and sums."""
        buffers = [buffer.detach().numpy() for buffer in self.parts.model.buffers()]
        return [(buffer, buffer.copy()) for buffer in buffers], self._sums.keep()

    def _taken_back(self, kept: Kept) -> bool:
        """Where the loss or a gradient is not finite, take the update back."""
        bad = not (all(map(bool, map(torch.isfinite, self._watch.running()))) and self.gradients_finite())
        if bad:
            for buffer, copy in kept[0]:
                np.copyto(buffer, copy)
            self._sums.put_back(kept[1])
            self._watch.forget()
            self._watch.done()
        return bad

    def gradients_finite(self) -> bool:
        """Look at the gradients."""
        return all(bool(np.isfinite(array).all()) for array in self.gradients().values())

    def weights_finite(self) -> bool:
        """Look at the weights."""
        weights = [p.detach().numpy() for p in self.parts.model.parameters() if p.requires_grad]
        return all(bool(np.isfinite(array).all()) for array in weights)

    def gradients(self) -> dict[str, Array]:
        """Copy the gradients."""
        named = self.parts.model.named_parameters()
        return {name: p.grad.numpy().copy() for name, p in named if p.grad is not None}

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold evaluation mode, no tape and a seed of its own; every module's own mode comes back."""
        model = self._evaluated()
        training = [module for module in model.modules() if module.training]
        self._sums.begin_evaluation()
        with zero.no_grad(), device.kept_generators(), kept_generator():
            try:
                model.eval()
                self.seed(keyed.number("evaluate", self._seed))
                yield
            finally:
                for module in training:
                    module.training = True
                self._sums.end_evaluation()

    def evaluate(self, batch: Batch) -> Result:
        """Add one batch to the evaluation sums; inside `evaluating`."""
        output, loss, samples = self._forward(self._evaluated(), batch)
        self._sums.add(as_torch(loss), as_torch(output), batch[1], samples, evaluating=True)
        return Result(loss, samples, output)

    def predict(self, batch: Batch) -> Array:
        """Return probabilities or values for one batch; inside `evaluating`."""
        output = forward(self._evaluated(), as_zero(batch[0]))
        return self.array(self.parts.objective.probabilities(as_torch(output)))

    def check(self, batch: Batch, name: str) -> list[str]:
        """Run one batch through model and loss in evaluation mode, changing nothing."""
        step, function = self.parts.step, self.parts.objective.loss
        with self.evaluating():
            try:
                if step is not None:
                    return check_step(step(self._evaluated(), as_zero(batch)), "step")
                output = forward(self._evaluated(), as_zero(batch[0]))
                if function.kind is None:
                    check_step(self._loss(output, as_zero(batch[1])), "loss")
            except DanluError:
                raise
            except Exception as error:
                raise misfit(error, batch, name) from error
            warnings = check(function, as_torch(output), batch[1]) if function.kind is not None else []
            self._sums.prepare(as_torch(output), batch[1])
        return warnings

    def lone_sample_refused(self, batch: Batch) -> str | None:
        """Return a BatchNorm layer that would see one value per channel in a training batch of one sample, or None."""
        model, step, one = self._evaluated(), self.parts.step, as_zero(first_sample(batch))
        kinds = zero.nn.BatchNorm1d, zero.nn.BatchNorm2d
        layers: dict[str, Any] = {name: m for name, m in model.named_modules() if isinstance(m, kinds) and m.training}
        if not layers:
            return None
        with one_value_per_channel(layers) as found, self.evaluating():
            try:
                forward(model, one[0]) if step is None else step(model, one)
            except Exception as error:
                raise misfit(error, first_sample(batch), "one-sample") from error
        return next(iter(found), None)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return weights, buffers, optimizer, schedule, average and the sums of the current epoch."""
        tensors, values = export_parts(self.parts)
        tensors["sums"] = self._sums.state()
        return tensors, values

    def load(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Take back what `state` returned, by copying into the live arrays."""
        import_parts(self.parts, tensors, values)
        self._sums.load(tensors["sums"])

    def snapshot(self) -> object:
        """Return a copy of the evaluated weights."""
        return {name: tensor.numpy().copy() for name, tensor in self._evaluated().state_dict().items()}

    def restore(self, snapshot: object) -> None:
        """Copy a snapshot into the evaluated model, and into the trained one too."""
        for module in {self._evaluated(), self.parts.model}:
            copied_into(module, snapshot)  # type: ignore[arg-type]

    def parameters(self) -> dict[str, Array]:
        """Return the evaluated model's parameters by name."""
        return {name: parameter.detach().numpy() for name, parameter in self._evaluated().named_parameters()}

    def array(self, tensor: Any) -> Array:
        """Return a tensor, of a batch or of the model's, as a NumPy array."""
        return tensor.detach().numpy()  # type: ignore[no-any-return]

    def draw_graph(self, folder: Path, batch: Batch) -> None:
        """Write the graph of one sample's output for TensorBoard."""
        with device.kept_generators(), kept_generator(), self.evaluating(), zero.enable_grad():
            model = self._evaluated()
            write_graph(forward(model, as_zero(first_sample(batch)[0])), dict(model.named_parameters()), folder)


@contextlib.contextmanager
def kept_generator() -> Iterator[None]:
    """Put danlu.zero's default generator back at the end."""
    state = zero.get_rng_state()
    try:
        yield
    finally:
        zero.set_rng_state(state)


def forward(model: Any, inputs: Any) -> Any:
    """Call the model as its inputs ask for: one tensor, several, or several by name."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def as_zero(tree: Any) -> Any:
    """Return a batch's tensors as danlu.zero's, which share their memory."""
    if isinstance(tree, Tensor):
        return zero.from_numpy(tree.numpy())
    if isinstance(tree, dict):
        return {name: as_zero(leaf) for name, leaf in tree.items()}
    return tuple(map(as_zero, tree)) if isinstance(tree, tuple | list) else tree


def as_torch(tree: Any) -> Any:
    """Return what a model gave as PyTorch tensors without a graph, which share its memory where that can be."""
    if isinstance(tree, zero.Tensor):
        return torch.from_numpy(np.asarray(tree.detach().numpy(), order="C"))
    if isinstance(tree, dict):
        return {name: as_torch(leaf) for name, leaf in tree.items()}
    return tuple(map(as_torch, tree)) if isinstance(tree, tuple | list) else tree


def check_step(loss: Any, where: str) -> list[str]:
    """Refuse what a caller's own step or loss returned where it is no number, or dict of numbers."""
    for value in loss.values() if isinstance(loss, dict) else [loss]:
        if not isinstance(value, zero.Tensor) or value.ndim != 0:
            shape = getattr(value, "shape", None)
            got = type(value).__name__ if shape is None else f"a tensor of shape {tuple(shape)}"
            want = "one number as a 0-d danlu.zero tensor" + (", or a dict of them" if where == "step" else "")
            raise ModelError(where=where, got=got, want=want, fix=f"return loss.mean() from your {where}")
    return []
