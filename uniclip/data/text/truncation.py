"""Captions that are longer than the text encoder's context: how many are cut, and become equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from uniclip.config import TextConfig
from uniclip.config.binding import to_builtins
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.io.hashing import get_library_version, to_canonical_json
from uniclip.io.memo import disk_memoize

if TYPE_CHECKING:
    from uniclip.data.split import Split


class _Sliceable(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, i: slice, /) -> Any: ...


MAX_CAPTIONS = 10_000
"""Captions that are examined, and that a BPE is trained on for it; of more, every k-th one."""
USUAL_CONTEXT_LENGTH, USUAL_VOCAB_SIZE = 32, 2_000
"""Context into which all captions of built-in data fit with a vocabulary of this size."""
Chosen = TypeVar("Chosen", bound=_Sliceable)
RAISE_CONTEXT = "raise model.text.context_length"


@dataclass(frozen=True)
class TruncationCounts:
    """What tokenization and `model.text.context_length` do to distinct captions."""

    num_total: int
    """All distinct captions."""
    num_captions: int
    """Those that were examined, to which the other counts refer."""
    num_cut: int
    """Captions with more tokens than the context holds."""
    num_merged: int
    """Captions that are equal to another one when they are cut, and not before."""
    num_left: int
    """Captions that are still different from each other when they are cut."""
    num_equal: int
    """Captions with the tokens of another one: they differ in case, say."""
    longest: int
    """Tokens of the longest caption, start and end token included."""


def count_truncated(
    config: TextConfig, training_captions: Sequence[str], captions: Iterable[str]
) -> TruncationCounts:
    """Return how many of `captions` are cut to the context, with the tokenizer of a run.

    Up to `MAX_CAPTIONS` the counts are exact, beyond they are those of a sample. They are kept in
    the user's cache folder under a digest of the captions.

    Args:
        config: The text encoder.
        training_captions: Those of the training split in their order, on which a BPE is trained.
        captions: Those of all splits.

    Raises:
        UserError: CLIP's vocabulary is not installed.
    """
    distinct = list(dict.fromkeys(captions))
    samples = list(thin_out(training_captions)), list(thin_out(distinct))
    return count_truncated_sample(config, *samples, len(distinct))


def count_truncated_sample(
    config: TextConfig, training_captions: list[str], captions: list[str], num_total: int
) -> TruncationCounts:
    """Return what `count_truncated` does, of captions that are chosen already.

    Args:
        config: The text encoder.
        training_captions: Those of the training split, as `thin_out` chooses them.
        captions: The distinct ones of all splits, likewise.
        num_total: Number of all distinct captions.

    Raises:
        UserError: CLIP's vocabulary is not installed.
    """
    key = blake2b(to_canonical_json(to_builtins(config)).encode(), digest_size=16)
    key.update(get_library_version("tokenizers").encode())
    for texts in (training_captions, captions):
        key.update(f"\0{len(texts)}\0".encode())
        key.update("\0".join(texts).encode("utf-8", "surrogatepass"))
    counts = disk_memoize(
        "captions", key.hexdigest(), lambda: _count(config, training_captions, captions)
    )
    return TruncationCounts(num_total=num_total, **counts)


def thin_out(values: Chosen) -> Chosen:
    """Return at most `MAX_CAPTIONS` values of a sequence or array, evenly chosen."""
    chosen: Chosen = values[:: max(1, -(-len(values) // MAX_CAPTIONS))]
    return chosen


def _count(
    config: TextConfig, training_captions: Sequence[str], captions: Sequence[str]
) -> dict[str, int]:
    from uniclip.data.text.build import build_tokenizer  # imports numpy: see `uniclip.data`

    tokenizer = build_tokenizer(config, training_captions)
    tokens = [tuple(ids) for ids in tokenizer.encode_uncut(captions)]
    max_tokens = config.context_length - tokenizer.num_special_tokens
    captions_per_tokens = Counter(tokens)
    texts_per_cut_tokens = Counter(ids[:max_tokens] for ids in captions_per_tokens)
    return {
        "num_captions": len(captions),
        "num_cut": sum(len(ids) > max_tokens for ids in tokens),
        "num_merged": sum(texts_per_cut_tokens[ids[:max_tokens]] > 1 for ids in tokens),
        "num_left": len(texts_per_cut_tokens),
        "num_equal": sum(captions_per_tokens[ids] > 1 for ids in tokens),
        "longest": max(map(len, tokens), default=0) + tokenizer.num_special_tokens,
    }


def describe_cut_captions(config: TextConfig, counts: TruncationCounts) -> list[str]:
    """Return a sentence on captions that are cut, if there are some."""
    if not counts.num_cut:
        return []
    merged = ""
    if counts.num_merged:
        merged = (
            f", by which {counts.num_merged} become equal to another one (different captions "
            f"before: {counts.num_captions}, after: {counts.num_left})"
        )
    return [
        f"{counts.num_cut} of {_describe_scope(counts)} are longer than "
        f"model.text.context_length={config.context_length} tokens (the longest has "
        f"{counts.longest}) and are cut{merged}"
    ]


def describe_equal_captions(counts: TruncationCounts) -> list[str]:
    """Return a sentence on captions with the tokens of another one, if there are some."""
    if not counts.num_equal:
        return []
    return [
        f"{counts.num_equal} of {_describe_scope(counts)} have the same tokens as another "
        "one, such as captions that differ in case: retrieval counts them as one caption"
    ]


def describe_short_context(
    config: TextConfig, open_split: Callable[[SplitName], Split]
) -> list[str]:
    """Return a sentence on captions of built-in data that are cut, if the context is short.

    The captions fit into the usual context: the splits are opened for other ones only.
    """
    is_usual_vocabulary = config.vocab_size >= USUAL_VOCAB_SIZE
    if config.context_length >= USUAL_CONTEXT_LENGTH and is_usual_vocabulary:
        return []
    captions = {
        name: [text for sample_captions in open_split(name).captions for text in sample_captions]
        for name in SPLIT_NAMES
    }
    counts = count_truncated(config, captions["train"], chain.from_iterable(captions.values()))
    return describe_cut_captions(config, counts)


def _describe_scope(counts: TruncationCounts) -> str:
    if counts.num_captions == counts.num_total:
        return f"{counts.num_total} captions"
    return f"{counts.num_captions} captions looked at, of {counts.num_total},"
