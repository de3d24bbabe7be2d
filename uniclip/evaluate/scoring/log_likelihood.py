"""Log likelihood of held-out pairs under the contrastive model, and the temperature that fits it.

Of a query q with the correct keys P(q) among all keys, the log likelihood at temperature T is

    L(q) = 1 / |P(q)| sum over p in P(q) of log softmax over all keys k of (q . k / T) at p,

in nats. With one correct key it is minus the loss of CLIP (Radford et al., 2021); with several it
is that of UniCL (Yang et al., CVPR 2022) and SupCon's L_out (Khosla et al., NeurIPS 2020): the mean
over the correct keys, which all stay in the denominator. Unlike the logarithm of the sum over
correct keys it is concave in 1 / T, so there is one best temperature. It is stored as a log
likelihood, not as its negative, so that higher is better as for accuracies and recalls.

A model that ranks well may be over- or underconfident at any fixed temperature, and two models that
differ in that alone must not differ in the score: the temperature is fitted for each model, on
validation pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from uniclip.evaluate.metrics import Float, Int, Numbers
from uniclip.evaluate.protocols.protocol import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    TEMPERATURE_TOLERANCE,
)
from uniclip.evaluate.scoring.retrieval import (
    SIMILARITIES_PER_BLOCK,
    ImageTextPairs,
    replace_non_finite,
)


def compute_log_likelihoods(
    images: Numbers, texts: Numbers, image_text_pairs: ImageTextPairs, temperature: float
) -> tuple[Float, Float]:
    """Return the log likelihood of captions given each image (n,), and of images given each pair's
    caption (P,), in nats, float64.

    images: (n, D) unit rows. texts: (len(image_text_pairs.texts), D) unit rows.
    """
    image_index, text_index = image_text_pairs.list_correct()
    to_text = _score_queries(images, texts, image_index, text_index, temperature)
    to_image = _score_queries(texts, images, text_index, image_index, temperature)
    return to_text, to_image[image_text_pairs.text_index]


def compute_chance_log_likelihoods(image_text_pairs: ImageTextPairs) -> tuple[float, float]:
    """Return the log likelihoods of a model for which all keys are equal: -log(number of keys)."""
    num_images = int(image_text_pairs.image_index.max()) + 1
    return -math.log(len(image_text_pairs.texts)), -math.log(num_images)


def fit_temperature(images: Numbers, texts: Numbers, image_text_pairs: ImageTextPairs) -> float:
    """Return the temperature with the highest mean log likelihood of both ways on these pairs.

    It is found by Brent's bounded minimization (scipy's `minimize_scalar`) over the logarithm of
    the temperature, from `MIN_TEMPERATURE` to `MAX_TEMPERATURE`, to within `TEMPERATURE_TOLERANCE`
    of the logarithm. The same rows give the same temperature.

    images: (n, D) unit rows. texts: (len(image_text_pairs.texts), D) unit rows; the whole matrix of
    similarities is in memory.
    """
    similarity = replace_non_finite(images).astype(np.float64) @ replace_non_finite(texts).T
    to_text, to_image = image_text_pairs.list_correct()
    compute_image_part = _build_mean(similarity, to_text, to_image, np.arange(len(images)))
    compute_text_part = _build_mean(
        np.ascontiguousarray(similarity.T), to_image, to_text, image_text_pairs.text_index
    )

    def compute_loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return -(compute_image_part(temperature) + compute_text_part(temperature)) / 2

    result = optimize.minimize_scalar(
        compute_loss,
        bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": TEMPERATURE_TOLERANCE},
    )
    return math.exp(float(result.x))


def _build_mean(
    similarity: Float, query_index: Int, key_index: Int, counted_queries: Int
) -> Callable[[float], float]:
    """Return temperature -> mean log likelihood over `counted_queries`, of similarities (n, m)."""
    largest = similarity.max(axis=1)
    margin = similarity - largest[:, None]
    correct_margin = np.bincount(
        query_index, weights=margin[query_index, key_index], minlength=len(similarity)
    ) / np.bincount(query_index, minlength=len(similarity))
    mean_margin = float(correct_margin[counted_queries].mean())
    buffer = np.empty_like(margin)

    def compute_mean(temperature: float) -> float:
        np.divide(margin, temperature, out=buffer)
        log_sums = np.log(np.exp(buffer, out=buffer).sum(axis=1))
        return mean_margin / temperature - float(log_sums[counted_queries].mean())

    return compute_mean


def _score_queries(
    queries: Numbers, keys: Numbers, query_index: Int, key_index: Int, temperature: float
) -> Float:
    """Return the log likelihood of each query, (n,) float64, block by block of queries."""
    queries, keys = replace_non_finite(queries), replace_non_finite(keys)
    order = np.argsort(query_index, kind="stable")
    query_index, key_index = query_index[order], key_index[order]
    first_pair = np.searchsorted(query_index, np.arange(len(queries) + 1))
    block_size = max(1, SIMILARITIES_PER_BLOCK // max(1, len(keys)))
    log_likelihoods = np.empty(len(queries))
    for start in range(0, len(queries), block_size):
        end = min(start + block_size, len(queries))
        pairs = slice(first_pair[start], first_pair[end])
        margin = (queries[start:end] @ keys.T).astype(np.float64)
        margin -= margin.max(axis=1, keepdims=True)
        margin /= temperature
        rows = query_index[pairs] - start
        correct = np.bincount(rows, margin[rows, key_index[pairs]]) / np.bincount(rows)
        log_likelihoods[start:end] = correct - np.log(np.exp(margin, out=margin).sum(axis=1))
    return log_likelihoods
