"""The folder of a run, and of each attempt at it: every path in them."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.io.atomic import append, as_json, lines, publish, read, read_json, replace
from uniclip.store.records import Ended, Heartbeat, Outcome, Owner, Scores

CACHE = "cache"
"""The store's folder of what can be made again."""


class AttemptFolder:
    """`runs/<id>/attempts/<n>/`: what changes while a run is executed; one process writes it."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run, self.number = run, number
        self._claimed: bytes | None = None
        self._owner: Owner | None = None
        self.path = run.path / "attempts" / str(number)
        self.claim = run.path / "attempts" / f"{number}.claim"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events.jsonl"
        self.log = self.path / "log"
        self.checkpoints = self.path / "checkpoint"
        self._beat = self.path / "heartbeat"

    def owner(self) -> Owner | None:
        """The owner record; None if nobody claimed this attempt."""
        owner: Owner | None = read(Owner, self.claim)
        return owner

    def heartbeat(self) -> Heartbeat | None:
        """The last sign of life; None before the first, or if it is damaged."""
        try:
            beat: Heartbeat | None = read(Heartbeat, self._beat)
        except UserError:
            return None
        return beat

    def beat(self, *, step: int, steps: int, rate: float, phase: str) -> None:
        """A sign of life."""
        if self._ours():
            beat = Heartbeat(
                time=time.time(), step=step, steps=steps, rate=rate, phase=phase, owner=self._owner
            )
            replace(self._beat, as_json(beat))

    def event(self, kind: str, **fields: Any) -> None:
        """One more line of what happened."""
        append(self.events, {"time": time.time(), "event": kind, **fields})

    def ended(self) -> Ended | None:
        """How it ended, by its own word; None if it never said."""
        ended: Ended | None = read(Ended, self.path / "ended.json")
        return ended

    def end(self, kind: str, error: str | None = None) -> None:
        """The attempt's last word (said once, and not by who holds it no more)."""
        if self._ours():
            word = bind(Ended, {"kind": kind, "time": time.time(), "error": error})
            if publish(self.path / "ended.json", as_json(word)):
                self._repeat(word)

    def _repeat(self, word: Ended) -> None:
        """The last sign of life says too that it was the last; whoever doubts reads the claim."""
        last = self.heartbeat()
        if last is not None:
            with suppress(OSError):
                replace(self._beat, as_json(dataclasses.replace(last, ended=word)))

    def overtaken(self) -> bool:
        """Whether a newer one is claimed, or the run moved aside: then nothing is published."""
        return self.run.attempts()[-1:] != [self.number] or not self._ours()

    def _ours(self) -> bool:
        """Whether the claim is still the one that this object made (True if it made none)."""
        with suppress(FileNotFoundError):
            return self._claimed is None or self.claim.read_bytes() == self._claimed
        return False


class RunFolder:
    """`runs/<id>/`: a run. Files at this level are published once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @property
    def weights(self) -> Path:
        """The final weights."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that they were trained with."""
        return self.path / "tokenizer.json"

    @property
    def cache(self) -> Path:
        """What can be made again, of the whole store."""
        return self.path.parent.parent / CACHE

    def publish_spec(self, spec: Mapping[str, Any]) -> None:
        """Write down what the run is (the first to say it wins; all say the same)."""
        publish(self.path / "spec.json", as_json(spec))

    def has_spec(self) -> bool:
        """Whether the run was ever written down."""
        return (self.path / "spec.json").exists()

    def spec(self) -> dict[str, Any]:
        """What was hashed."""
        spec: dict[str, Any] = read_json(self.path / "spec.json")
        return spec

    def outcome(self) -> Outcome | None:
        """The outcome; None while there is none."""
        outcome: Outcome | None = read(Outcome, self.path / "outcome.json")
        return outcome

    def publish_outcome(self, outcome: Outcome) -> bool:
        """Publish the outcome; False if there is one already."""
        return publish(self.path / "outcome.json", as_json(outcome))

    def attempts(self) -> list[int]:
        """Numbers of the claimed attempts, ascending."""
        try:
            names = os.listdir(self.path / "attempts")
        except FileNotFoundError:
            return []
        numbers = [n.removesuffix(".claim") for n in names if n.endswith(".claim")]
        return sorted(int(n) for n in numbers if n.isdecimal())

    def attempt(self, number: int) -> AttemptFolder:
        """The folder of one attempt."""
        return AttemptFolder(self, number)

    def claim(self, number: int, owner: Owner) -> AttemptFolder | None:
        """Claim attempt `number`; None if somebody else has it."""
        attempt = AttemptFolder(self, number)
        record = as_json(owner)
        if not publish(attempt.claim, record):
            return None
        attempt._claimed, attempt._owner = record, owner
        attempt.path.mkdir(exist_ok=True)
        return attempt

    def scores_path(self, dataset: str, evaluation: str) -> Path:
        """Where the scores of a data set under an evaluation hash stand."""
        return self.path / "scores" / f"{dataset}@{evaluation}.json"

    def scored(self) -> set[Path]:
        """Every file of scores that is there, by one look at their folder."""
        folder = self.path / "scores"
        try:
            return {folder / name for name in os.listdir(folder)}
        except FileNotFoundError:
            return set()

    def predictions_path(self, dataset: str, evaluation: str) -> Path:
        """Where the per-sample outcomes behind those scores stand."""
        return self.path / "predictions" / f"{dataset}@{evaluation}.npz"

    def scores(self, dataset: str, evaluation: str) -> Scores | None:
        """The scores of a data set under an evaluation hash; None if there are none."""
        scores: Scores | None = read(Scores, self.scores_path(dataset, evaluation))
        return scores

    def history(self) -> list[dict[str, Any]]:
        """Metric records by step: where attempts overlap, the newer one's."""
        by_step: dict[tuple[int, str], dict[str, Any]] = {}
        for number in self.attempts():
            for record in lines(self.attempt(number).metrics):
                by_step[record.get("step", 0), record.get("phase", "train")] = record
        return [by_step[k] for k in sorted(by_step)]
