"""Holds where samples come from, how they are split, and how they become batches; named data sets and file formats.

It must never know models, losses, optimizers, or what a training loop does with a batch.
"""

from danlu.data.addressed import rng
from danlu.data.augment_batches import augmented
from danlu.data.bad import BadPolicy, BadSamples
from danlu.data.batch import Batches
from danlu.data.batching import batches
from danlu.data.cache_folder import cache_folder
from danlu.data.dataset import Loader, Samples, pictures_of
from danlu.data.files import SUFFIXES, read_file
from danlu.data.given import arrays, as_data, idx
from danlu.data.idx_file import read_idx
from danlu.data.image_folder import images
from danlu.data.named import described, fetch, info, load, names, options_of
from danlu.data.normalise import normalised, normalised_sets, statistics
from danlu.data.sampling import Sampler
from danlu.data.sets import Data, class_total
from danlu.data.source import Arrays, Source
from danlu.data.store_convert import convert
from danlu.data.store_notes import notes_on_reading
from danlu.data.store_schema import is_stored
from danlu.data.store_source import Stored, stored
from danlu.data.store_verify import verify

__all__ = [
    "SUFFIXES",
    "Arrays",
    "BadPolicy",
    "BadSamples",
    "Batches",
    "Data",
    "Loader",
    "Sampler",
    "Samples",
    "Source",
    "Stored",
    "arrays",
    "as_data",
    "augmented",
    "batches",
    "cache_folder",
    "class_total",
    "convert",
    "described",
    "fetch",
    "idx",
    "images",
    "info",
    "is_stored",
    "load",
    "names",
    "normalised",
    "normalised_sets",
    "notes_on_reading",
    "options_of",
    "pictures_of",
    "read_file",
    "read_idx",
    "rng",
    "statistics",
    "stored",
    "verify",
]
