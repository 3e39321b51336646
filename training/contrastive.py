"""The supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362)."""

import torch
from torch import nn

TEMPERATURE = 0.1  # as in the paper's experiments


def supervised_contrastive(
    features: torch.Tensor, labels: torch.Tensor, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """Pull images of a class together, and push others away.

    The paper's equation 2, ``L_out``, of features ``z`` of length 1. Of an image ``i``
    that has others ``P(i)`` of its class in the batch::

        -1 / |P(i)| sum over p in P(i) of
            log (exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t))

    Args:
        features: ``(N, D)`` float; their length does not matter.
        labels: ``(N,)`` int64.
        temperature: ``t``.

    Returns:
        The mean over such images, where the paper has the sum; 0 where there is none.
    """
    features = nn.functional.normalize(features, dim=1)
    similarity = features @ features.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_share = similarity - torch.logsumexp(
        similarity.masked_fill(itself, -torch.inf), 1, keepdim=True
    )
    same = (labels[:, None] == labels) & ~itself
    count = same.sum(1)
    loss = -(log_share * same).sum(1) / count.clamp(min=1)
    return loss[count > 0].mean() if (count > 0).any() else log_share.sum() * 0
