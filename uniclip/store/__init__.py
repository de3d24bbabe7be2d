"""The store: every path in it, and the typed record of every file."""

from uniclip.store.records import Arm, Audit, Cell, Component, Contrast, Ended, Expectation, Finding, Heartbeat, Intent, Outcome, Owner, Plan, Primary, Round, Score, Scores, Submission, Trial, TunedArm, Tuning
from uniclip.store.run_folder import AttemptFolder, RunFolder
from uniclip.store.store import Store, StudyFolder, SweepFolder

__all__ = ['Arm', 'AttemptFolder', 'Audit', 'Cell', 'Component', 'Contrast', 'Ended', 'Expectation', 'Finding', 'Heartbeat', 'Intent', 'Outcome', 'Owner', 'Plan', 'Primary', 'Round', 'RunFolder', 'Score', 'Scores', 'Store', 'StudyFolder', 'Submission', 'SweepFolder', 'Trial', 'TunedArm', 'Tuning']
