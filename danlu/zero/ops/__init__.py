"""The operations: what each computes, and how a gradient goes back through it, next to each other.

This folder must never know layers, optimizers or training; it works on arrays, and only the tape knows tensors.
"""
