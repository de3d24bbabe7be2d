"""What an encoder of texts needs to know of a tokenizer."""

from __future__ import annotations

from typing import Protocol


class Vocabulary(Protocol):
    """The special ids and the number of ids of a tokenizer."""

    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
