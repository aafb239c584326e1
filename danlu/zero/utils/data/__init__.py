"""Data sets, the order in which they are read, and the loader that makes batches.

This folder must never know layers or optimizers."""

from danlu.zero.utils.data.collate import default_collate as default_collate
from danlu.zero.utils.data.collate import default_convert as default_convert
from danlu.zero.utils.data.dataset import ConcatDataset as ConcatDataset
from danlu.zero.utils.data.dataset import Dataset as Dataset
from danlu.zero.utils.data.dataset import IterableDataset as IterableDataset
from danlu.zero.utils.data.dataset import Subset as Subset
from danlu.zero.utils.data.dataset import TensorDataset as TensorDataset
from danlu.zero.utils.data.dataset import random_split as random_split
from danlu.zero.utils.data.loader import DataLoader as DataLoader
from danlu.zero.utils.data.sampler import BatchSampler as BatchSampler
from danlu.zero.utils.data.sampler import RandomSampler as RandomSampler
from danlu.zero.utils.data.sampler import Sampler as Sampler
from danlu.zero.utils.data.sampler import SequentialSampler as SequentialSampler
from danlu.zero.utils.data.sampler import SubsetRandomSampler as SubsetRandomSampler
from danlu.zero.utils.data.sampler import WeightedRandomSampler as WeightedRandomSampler
from danlu.zero.utils.data.worker import get_worker_info as get_worker_info
