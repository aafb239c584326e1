"""Learning-rate schedules: each `step()` writes the next rate into the optimizer's groups."""

from danlu.zero.optim.lr_scheduler.base import LRScheduler as LRScheduler
from danlu.zero.optim.lr_scheduler.combined import ChainedScheduler as ChainedScheduler
from danlu.zero.optim.lr_scheduler.combined import SequentialLR as SequentialLR
from danlu.zero.optim.lr_scheduler.cyclic import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from danlu.zero.optim.lr_scheduler.cyclic import CyclicLR as CyclicLR
from danlu.zero.optim.lr_scheduler.cyclic import OneCycleLR as OneCycleLR
from danlu.zero.optim.lr_scheduler.factor import ConstantLR as ConstantLR
from danlu.zero.optim.lr_scheduler.factor import CosineAnnealingLR as CosineAnnealingLR
from danlu.zero.optim.lr_scheduler.factor import ExponentialLR as ExponentialLR
from danlu.zero.optim.lr_scheduler.factor import LambdaLR as LambdaLR
from danlu.zero.optim.lr_scheduler.factor import LinearLR as LinearLR
from danlu.zero.optim.lr_scheduler.factor import MultiplicativeLR as MultiplicativeLR
from danlu.zero.optim.lr_scheduler.factor import MultiStepLR as MultiStepLR
from danlu.zero.optim.lr_scheduler.factor import PolynomialLR as PolynomialLR
from danlu.zero.optim.lr_scheduler.factor import StepLR as StepLR
from danlu.zero.optim.lr_scheduler.plateau import ReduceLROnPlateau as ReduceLROnPlateau
