"""Optimizers and learning-rate schedules, on arrays of parameters.

This folder must never know layers or operations."""

from danlu.zero.optim import lr_scheduler as lr_scheduler
from danlu.zero.optim.adam import Adam as Adam
from danlu.zero.optim.adam import Adamax as Adamax
from danlu.zero.optim.adam import AdamW as AdamW
from danlu.zero.optim.adam import SparseAdam as SparseAdam
from danlu.zero.optim.adaptive import Adadelta as Adadelta
from danlu.zero.optim.adaptive import Adagrad as Adagrad
from danlu.zero.optim.adaptive import RMSprop as RMSprop
from danlu.zero.optim.optimizer import Optimizer as Optimizer
from danlu.zero.optim.sgd import SGD as SGD
