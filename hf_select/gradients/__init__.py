"""Gradient norms of single samples, in one batched pass."""

from hf_select.gradients.norms import GradNorms, per_sample_grad_norms

__all__ = ["GradNorms", "per_sample_grad_norms"]
