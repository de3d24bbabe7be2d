"""Literal reference implementations of the losses: loops over the equations, one scalar at a time.

They exponentiate the scores without any precaution against overflow: use them in float64.
"""

from __future__ import annotations

from torch import Tensor

BALANCED = (1.0, 1.0, 1.0)


def score(z: Tensor, domain: list[int], log_scale: Tensor, offset: Tensor, i: int, j: int):
    """Return s_ij = (cos(z_i, z_j) - b_D) / tau_D, with b_IT = 0."""
    pair = domain[i] + domain[j]
    b = 0 if pair == 1 else offset[pair]
    return ((z[i] * z[j]).sum() - b) * log_scale[pair].exp()


def multi_positive(
    z, sample, domain, slot, log_scale, offset, *, denominator, aggregate, negatives, weights
) -> Tensor | None:
    """Return the mean of L_i over anchors with a positive of non-zero weight; None if none has.

    The equations are those of `uniclip.losses.multi_positive.multi_positive`.
    """
    sample, domain, slot = sample.tolist(), domain.tolist(), slot.tolist()
    m = len(z)
    e = [[score(z, domain, log_scale, offset, i, j).exp() for j in range(m)] for i in range(m)]
    losses = []
    for i in range(m):
        positives = [j for j in range(m) if j != i and sample[j] == sample[i]]
        v = positive_weights(i, positives, domain, weights)
        if not any(v.values()):
            continue
        if aggregate == "inside":
            denominator_terms = [e[i][n] for n in range(m) if sample[n] != sample[i]]
            inside = sum(len(positives) * v[p] * e[i][p] for p in positives)
            losses.append(-(inside / (inside + sum(denominator_terms))).log())
            continue
        loss = 0.0
        for p in positives:
            denominator_terms = [
                e[i][n]
                for n in range(m)
                if sample[n] != sample[i]
                and (negatives != "not_text_text" or domain[n] + domain[i] < 2)
                and (negatives != "domain" or domain[n] == domain[p])
                and (negatives != "slot" or slot[n] == slot[p])
            ]
            if denominator == "all":
                denominator_terms += [e[i][q] for q in positives if q != p]
            loss = loss - v[p] * (e[i][p] / (e[i][p] + sum(denominator_terms))).log()
        losses.append(loss)
    return sum(losses) / len(losses) if losses else None


def positive_weights(i, positives, domain, weights) -> dict[int, float]:
    """Return v_p of each positive of anchor i."""
    if weights == "uniform":
        return {p: 1 / len(positives) for p in positives}
    w = BALANCED if weights == "balanced" else weights
    pairs = {p: domain[i] + domain[p] for p in positives}
    present = sum(w[pair] for pair in set(pairs.values()))
    if present == 0:
        return dict.fromkeys(positives, 0.0)
    return {p: w[pairs[p]] / (list(pairs.values()).count(pairs[p]) * present) for p in positives}


def unicl(image, text, labels, scale) -> Tensor:
    """Return (L_i2t + L_t2i) / 2, each -1 a label of its own; with all -1 it is CLIP's loss."""
    unique = [label if label >= 0 else -1 - i for i, label in enumerate(labels.tolist())]
    total = 0.0
    for anchors, candidates in ((image, text), (text, image)):
        total = total + image_to_text(anchors, candidates, unique, scale)
    return total / 2


def siglip(image, text, scale, bias) -> Tensor:
    """Return -1/N times the sum over all pairs of log sigmoid(y_ij (s x_i t_j + b))."""
    total = 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            label = 1 if i == j else -1
            score = scale * (image[i] * text[j]).sum() + bias
            total = total - (1 / (1 + (-label * score).exp())).log()
    return total / len(image)


def image_to_text(anchors, candidates, labels, scale) -> Tensor:
    """Return the mean over anchors of the cross-entropy against all candidates of their label."""
    n = len(labels)
    total = 0.0
    for i in range(n):
        e = [(scale * (anchors[i] * candidates[j]).sum()).exp() for j in range(n)]
        targets = [j for j in range(n) if labels[j] == labels[i]]
        total = total - sum((e[j] / sum(e)).log() for j in targets) / len(targets) / n
    return total
