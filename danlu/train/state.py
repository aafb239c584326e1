"""What must survive a restart, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from danlu.data import BadSamples
from danlu.train.hook import Hook
from danlu.train.learner import Learner, Tensors


class Best(TypedDict):
    """The best evaluation so far: after how many updates, by which metric, with which value."""

    step: int
    metric: str
    value: float


@dataclass
class TrainState:
    """A run at one moment: the learner's weights and optimizer, where in the data it stands, what hooks remember.

    Fields:
        updates_done: optimizer updates so far.
        samples_seen: training samples so far, repeats counted.
        epoch: epochs completed.
        position: batches of the current epoch already used; 0 at the start of an epoch.
        bad_updates, last_bad, bad_in_a_row: updates whose loss or gradient was NaN or infinite: how many, the last
            one's number, and how many there were in a row up to it.
        train_samples: how many the training set has: a run goes on with the same data only.
        evaluations_since_best: evaluations without improvement of the monitored metric.
        bad: for each set whose samples can be bad, those met so far, which stay out for the rest of the run.
    """

    learner: Learner
    updates_done: int = 0
    samples_seen: int = 0
    epoch: int = 0
    position: int = 0
    best: Best | None = None
    evaluations_since_best: int = 0
    train_samples: int = 0
    bad: dict[str, BadSamples] = field(default_factory=dict)
    bad_updates: int = 0
    last_bad: int = 0
    bad_in_a_row: int = 0
    hooks: dict[str, Hook] = field(default_factory=dict)

    def advance(self, batches: int, samples: int, batches_per_epoch: int) -> None:
        """Count one update made of `batches` micro-batches."""
        self.updates_done += 1
        self.samples_seen += samples
        self.position += batches
        if self.position >= batches_per_epoch:
            self.epoch += 1
            self.position = 0

    def state_dict(self) -> tuple[Tensors, dict[str, Any]]:
        """Return arrays by file and name, and JSON values. The arrays may share memory with the live model."""
        tensors, learner = self.learner.state()
        counters = {name: getattr(self, name) for name in COUNTERS}
        bad = {name: met.state() for name, met in self.bad.items()}
        hooks = {name: hook.state() for name, hook in self.hooks.items()}
        return tensors, {**counters, "learner": learner, "bad_samples": bad, "hooks": hooks}

    def load_state_dict(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.learner.load(tensors, values["learner"])
        for name in COUNTERS:
            setattr(self, name, values.get(name, getattr(self, name)))
        for name, met in self.bad.items():
            met.load(values.get("bad_samples", {}).get(name, {}))
        for name, hook in self.hooks.items():
            hook.load(values["hooks"].get(name, {}))


COUNTERS = (
    *("updates_done", "samples_seen", "epoch", "position", "best", "evaluations_since_best", "train_samples"),
    *("bad_updates", "last_bad", "bad_in_a_row"),
)
