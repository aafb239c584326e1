"""PyTorch's `utils`: what feeds training."""
