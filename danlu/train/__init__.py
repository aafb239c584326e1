"""Training: what one update is (`step.py`), when it happens (`loop.py`), what must survive (`state.py`).

It must never know a command line, a screen or a file format; only `build.py` turns a recipe's names into objects.
"""

from danlu.train.build import build_data, build_learner, build_model
from danlu.train.hook import EVENTS, Every, Hook, Stop
from danlu.train.learner import Learner, Result
from danlu.train.loop import run
from danlu.train.prepare import prepare
from danlu.train.state import TrainState
from danlu.train.step import TorchLearner
from danlu.train.training import Training

__all__ = [
    "EVENTS",
    "Every",
    "Hook",
    "Learner",
    "Result",
    "Stop",
    "TorchLearner",
    "TrainState",
    "Training",
    "build_data",
    "build_learner",
    "build_model",
    "prepare",
    "run",
]
