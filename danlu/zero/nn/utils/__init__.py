"""What is done to a module's parameters and gradients, and to sequences of different lengths."""

from danlu.zero.nn.utils import rnn
from danlu.zero.nn.utils.clip import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "rnn", "vector_to_parameters"]
