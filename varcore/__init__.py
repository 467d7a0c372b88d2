"""varcore: the mathematics of variational reasoning for language models (arXiv:2509.22637), on torch alone.

These are the public names.  The language-model layer is ``varcore.llm``; nothing of it is imported here.
"""

from varcore._shapes import ShapeError
from varcore.bounds import (
    elbo,
    iwae_bound,
    iwae_posterior_loss,
    iwae_reasoner_loss,
    log_importance_weights,
    normalized_weights,
)
from varcore.estimators import (
    accuracy_preferred_threshold,
    accuracy_worst_case_variance,
    effective_sample_size,
    likelihood_worst_case_variance,
    log_accuracy_correctness,
    log_geometric_mean_correctness,
    log_likelihood_correctness,
    tempered_log_weights,
)
from varcore.evaluation import Interval, avg_at_k, bootstrap_interval, paired_bootstrap, pass_at_k
from varcore.posteriors import forward_kl_loss, reverse_kl_loss

__version__ = "0.1.0"

__all__ = [
    "Interval",
    "ShapeError",
    "accuracy_preferred_threshold",
    "accuracy_worst_case_variance",
    "avg_at_k",
    "bootstrap_interval",
    "effective_sample_size",
    "elbo",
    "forward_kl_loss",
    "iwae_bound",
    "iwae_posterior_loss",
    "iwae_reasoner_loss",
    "likelihood_worst_case_variance",
    "log_accuracy_correctness",
    "log_geometric_mean_correctness",
    "log_importance_weights",
    "log_likelihood_correctness",
    "normalized_weights",
    "paired_bootstrap",
    "pass_at_k",
    "reverse_kl_loss",
    "tempered_log_weights",
]
