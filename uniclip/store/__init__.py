"""The store: every path in it, and the typed record of every file."""

from uniclip.store.adaptive_records import AdaptiveRule, CellPrices
from uniclip.store.attempt_folder import AttemptFolder
from uniclip.store.design_records import (
    Alias,
    Arm,
    Component,
    Contrast,
    FoldOver,
    Prediction,
)
from uniclip.store.run_folder import RunFolder
from uniclip.store.run_records import (
    AttemptEnd,
    ClaimRecord,
    DatasetScores,
    EnvironmentRecord,
    ExitKind,
    Heartbeat,
    Outcome,
    Score,
)
from uniclip.store.run_status import EndReason, RunStatus
from uniclip.store.score_kinds import (
    ScoreKind,
    ScoreKindTraits,
    get_score_kind_traits,
    is_better,
)
from uniclip.store.store import Store, StudyFolder, SweepFolder
from uniclip.store.submission_records import RetryPolicy, Submission, SubmissionIntent
from uniclip.store.sweep_records import (
    DEFAULT_LOOKS,
    AuditCheck,
    AuditRecord,
    Cell,
    Look,
    Margin,
    Plan,
    PlantedEffect,
    PrimaryMetric,
    Trial,
    TunedArm,
    Tuning,
    TuningRound,
)

__all__ = [
    "DEFAULT_LOOKS",
    "Alias",
    "FoldOver",
    "Prediction",
    "AdaptiveRule",
    "Arm",
    "AttemptFolder",
    "AuditRecord",
    "Cell",
    "CellPrices",
    "EndReason",
    "EnvironmentRecord",
    "ExitKind",
    "RetryPolicy",
    "RunStatus",
    "Component",
    "Contrast",
    "Look",
    "Margin",
    "AttemptEnd",
    "PlantedEffect",
    "AuditCheck",
    "Heartbeat",
    "SubmissionIntent",
    "Outcome",
    "ClaimRecord",
    "Plan",
    "PrimaryMetric",
    "TuningRound",
    "RunFolder",
    "Score",
    "ScoreKind",
    "ScoreKindTraits",
    "get_score_kind_traits",
    "is_better",
    "DatasetScores",
    "Store",
    "StudyFolder",
    "Submission",
    "SweepFolder",
    "Trial",
    "TunedArm",
    "Tuning",
]
