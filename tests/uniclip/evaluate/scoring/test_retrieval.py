from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from uniclip.evaluate.scoring import retrieval


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def literal_rank(similarity, right):
    """Rank of the best right key, wrong ones of equal score before it."""
    best = max(similarity[j] for j in right)
    return 1 + sum(s >= best for j, s in enumerate(similarity) if j not in right)


def test_by_hand_with_several_captions_an_image():
    # Three pictures, four captions: picture 0 has a and b, picture 1 has c and d, picture 2 has d.
    image, text = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 2, 3, 3])
    relation = retrieval.ImageTextPairs(tuple("abcd"), image, text)
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 9, 2], [6, 7, 1], [5, 2, 3], [0, 1, 8]], np.float32) / 10
    to_text, to_image = retrieval.rank_both_ways(images, texts, relation)
    # Picture 0 sees 0.1 0.6 0.5 0.0: its best is 0.6, first. Picture 1 sees 0.9 0.7 0.2 0.1: its
    # best is 0.2, third. Picture 2 sees 0.2 0.1 0.3 0.8: first.
    assert to_text.expected_ranks().tolist() == [1, 3, 1]
    # Caption a: 0.1 among 0.1 0.9 0.2, third. b: 0.6 below 0.7, second. c: 0.2 below 0.5 and 0.3,
    # third. d, for pictures 1 and 2 alike: best 0.8, first.
    assert to_image.expected_ranks().tolist() == [3, 2, 3, 1, 1]
    assert to_text.hits(1).tolist() == [1, 0, 1]
    assert to_image.hits(2).tolist() == [0, 1, 0, 1, 1]


def test_equals_the_literal_rank_in_any_blocks(monkeypatch):
    random = np.random.default_rng(0)
    queries, keys = unit(random.normal(size=(23, 6))), unit(random.normal(size=(31, 6)))
    right = random.random((23, 31)) < 0.1
    right[np.arange(23), np.arange(23)] = True
    query, key = np.nonzero(right)
    expected = [literal_rank(queries[i] @ keys.T, set(np.flatnonzero(right[i]))) for i in range(23)]
    for block in (1, 31 * 5, 1 << 20):
        monkeypatch.setattr(retrieval, "SIMILARITIES_PER_BLOCK", block)
        assert retrieval.rank_keys(queries, keys, query, key).expected_ranks().tolist() == expected


def test_the_order_does_not_matter():
    random = np.random.default_rng(1)
    images, texts = unit(random.normal(size=(17, 4))), unit(random.normal(size=(9, 4)))
    texts[3] = texts[5]  # a tie
    text = np.concatenate([np.arange(9), random.integers(0, 9, 8)])
    before = retrieval.rank_keys(images, texts, np.arange(17), text)
    p, q = random.permutation(17), random.permutation(9)
    after = retrieval.rank_keys(images[p], texts[q], np.arange(17), np.argsort(q)[text[p]])
    for k in (1, 5, 10):
        assert after.hits(k).tolist() == before.hits(k)[p].tolist()


def test_pairs_in_any_order():
    random = np.random.default_rng(2)
    rows = unit(random.normal(size=(6, 3)))
    order = random.permutation(6)
    shuffled = retrieval.rank_keys(rows, rows, order, order)
    assert shuffled.expected_ranks().tolist() == [1] * 6


def test_a_diverged_model_is_at_chance():
    rows = np.full((8, 3), np.nan, np.float32)
    found = retrieval.rank_keys(rows, rows, np.arange(8), np.arange(8))
    assert found.hits(1) == pytest.approx(1 / 8)


def literal_expectation(function, similarity, right):
    """The mean of function(rank of the first right key) over all orders of equal keys."""
    n = len(similarity)
    ranks = []
    for order in permutations(range(n)):
        ranked = sorted(order, key=lambda j: -similarity[j])  # stable: ties stay in this order
        ranks.append(1 + min(ranked.index(j) for j in right))
    return np.mean([function(rank) for rank in ranks])


def test_ranks_in_a_tie_are_expectations_over_its_orders():
    """Against all orders of six keys, with ties of any kind."""
    random = np.random.default_rng(7)
    for _ in range(12):
        similarity = random.integers(0, 3, 6).astype(np.float64)
        right = np.flatnonzero(random.random(6) < 0.4)
        right = right if len(right) else np.array([2])
        ranks = retrieval.rank_keys(
            np.ones((1, 1)), similarity[:, None], np.zeros(len(right), np.int64), right
        )
        for values, function in (
            (ranks.reciprocals(), lambda rank: 1 / rank),
            (ranks.logarithms(), np.log),
            (ranks.expected_ranks(), float),
        ):
            assert values.shape == (1,)
            assert values[0] == pytest.approx(literal_expectation(function, similarity, right))


def test_chance_is_the_mean_of_random_rankings():
    captions = [["a"], ["b", "c"], ["a"], ["d"], ["e"], ["f"], ["g"]]
    relation = retrieval.build_image_text_pairs(captions)
    random = np.random.default_rng(3)
    hits = []
    for _ in range(3000):
        images = random.normal(size=(7, 24)).astype(np.float32)
        texts = random.normal(size=(len(relation.texts), 24)).astype(np.float32)
        found = retrieval.rank_both_ways(images, texts, relation)
        hits.append([ranks.hits(2).mean() for ranks in found])
    assert np.mean(hits, axis=0) == pytest.approx(retrieval.chance_recall(relation, 2), abs=0.015)


def test_more_draws_than_keys():
    rows = unit(np.random.default_rng(4).normal(size=(3, 4)))
    found = retrieval.rank_keys(rows, -rows, np.arange(3), np.arange(3))
    assert found.hits(10).tolist() == [1, 1, 1]
    assert retrieval.chance_recall(retrieval.build_image_text_pairs([["a"], ["b"], ["c"]]), 10) == (
        1,
        1,
    )


def test_pairs_of_the_docstring_example():
    relation = retrieval.build_image_text_pairs([["a dog"], ["a cat", "a pet", "a cat"], ["a pet"]])
    assert relation.texts == ("a dog", "a cat", "a pet")
    assert relation.image_index.tolist() == [0, 1, 1, 2]
    assert relation.text_index.tolist() == [0, 1, 2, 2]


def encode_lower_case(texts):
    return [list(text.lower().encode()) for text in texts]


def test_captions_with_equal_tokens_count_as_one():
    captions = [["A dog"], ["a dog", "a pet"], ["a cat"], ["A CAT", "A DOG"]]
    relation = retrieval.build_image_text_pairs(captions, encode_lower_case)
    assert relation.texts == ("A dog", "a dog", "a pet", "a cat", "A CAT", "A DOG")
    image_index, text_index = relation.list_correct()
    correct = {i: text_index[image_index == i].tolist() for i in range(4)}
    dogs, cats = [0, 1, 5], [3, 4]
    assert correct == {0: dogs, 1: [*dogs[:2], 2, dogs[2]], 2: cats, 3: [0, 1, 3, 4, 5]}
    # A model that knows tokens alone: equal captions have equal rows.
    rows = np.eye(3, dtype=np.float32)
    images = rows[[0, 0, 2, 2]]
    texts = rows[[0, 0, 1, 2, 2, 0]]
    to_text, to_image = retrieval.rank_both_ways(images, texts, relation)
    assert to_text.hits(1).tolist() == [1, 1, 1, 1]
    assert len(to_image.num_above) == 6  # a query for each pair, whatever the tokens are
    assert to_image.hits(1)[[0, 1, 3, 4]].tolist() == [1, 1, 1, 1]
    without = retrieval.rank_both_ways(images, texts, retrieval.build_image_text_pairs(captions))
    assert without[0].hits(1).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 2, 1 / 2])


def test_the_chance_level_knows_which_captions_are_equal():
    captions = [["a"], ["A"], ["b"], ["c", "C"]]
    relation = retrieval.build_image_text_pairs(captions, encode_lower_case)
    random = np.random.default_rng(6)
    hits = []
    for _ in range(2000):
        images = random.normal(size=(4, 24)).astype(np.float32)
        texts = random.normal(size=(len(relation.texts), 24)).astype(np.float32)
        hits.append([r.hits(1).mean() for r in retrieval.rank_both_ways(images, texts, relation)])
    assert np.mean(hits, axis=0) == pytest.approx(retrieval.chance_recall(relation, 1), abs=0.015)
    assert retrieval.chance_recall(relation, 1)[0] == pytest.approx((2 + 2 + 1 + 2) / 5 / 4)


def test_captions_that_are_only_cut_to_equal_ones_stay_different():
    relation = retrieval.build_image_text_pairs([["a b c"], ["a b d"]], encode_lower_case)
    rows = np.ones((2, 1), np.float32)  # as a model that reads two words sees them
    to_text, to_image = retrieval.rank_both_ways(rows, rows, relation)
    assert to_text.hits(1).tolist() == to_image.hits(1).tolist() == [0.5, 0.5]


def test_a_query_without_a_correct_key_is_refused():
    rows = unit(np.ones((2, 2)))
    with pytest.raises(AssertionError, match="without a correct key"):
        retrieval.rank_keys(rows, rows, np.array([0]), np.array([0]))


def test_recall_is_clip_benchmarks():
    import torch

    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    random = np.random.default_rng(9)
    counts = random.integers(1, 8, 60)  # COCO's pictures have 5 to 7 captions
    owner = np.repeat(np.arange(60), counts)
    images = unit(random.normal(size=(60, 16)))
    texts = unit(random.normal(size=(len(owner), 16)) + 0.7 * images[owner] * 4)
    relation = retrieval.ImageTextPairs(tuple(map(str, owner)), owner, np.arange(len(owner)))
    to_text, to_image = retrieval.rank_both_ways(images, texts, relation)
    scores = torch.tensor(texts @ images.T)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(owner)), torch.tensor(owner)] = True
    for k in (1, 5, 10):
        reference = (peer.recall_at_k(scores.T, positive.T, k) > 0).float().mean().item()
        assert to_text.hits(k).mean() == pytest.approx(reference, abs=1e-6)
        reference = (peer.recall_at_k(scores, positive, k) > 0).float().mean().item()
        assert to_image.hits(k).mean() == pytest.approx(reference, abs=1e-6)


def test_a_tie_is_its_expectation_where_clip_benchmark_takes_the_first():
    import torch

    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    rows = unit(np.ones((4, 3)))
    found = retrieval.rank_keys(rows, rows, np.arange(4), np.arange(4))
    assert found.hits(1).tolist() == [0.25] * 4
    reference = peer.recall_at_k(torch.tensor(rows @ rows.T), torch.eye(4, dtype=torch.bool), 1)
    assert reference.sum() == 1  # whichever key stands first wins for all


def test_memory_is_that_of_a_tile():
    """Two thousand pictures by ten thousand captions: the matrix would be 80 MB."""
    import tracemalloc

    random = np.random.default_rng(10)
    images, texts = unit(random.normal(size=(2000, 8))), unit(random.normal(size=(10_000, 8)))
    owner = np.repeat(np.arange(2000), 5)
    relation = retrieval.ImageTextPairs(tuple(map(str, range(10_000))), owner, np.arange(10_000))
    tracemalloc.start()
    retrieval.rank_both_ways(images, texts, relation)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 4 * retrieval.SIMILARITIES_PER_BLOCK
    assert peak < images.nbytes + texts.nbytes + 2000 * 10_000 * 4
