"""Tables of a report, in reading order.

They never contain a time, a host or a path. Every row of a CSV file names the runs that its numbers
come from.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.results.results import Results
from analysis.tables.alarms import build_data_checks_table
from analysis.tables.benchmark import build_benchmark_tables
from analysis.tables.command_checks import build_command_check_table
from analysis.tables.comparability import build_comparability_table
from analysis.tables.components import build_component_table
from analysis.tables.contamination import build_contamination_tables
from analysis.tables.dataset_means import build_dataset_mean_tables
from analysis.tables.designs import build_alias_table, build_dose_table, build_shapley_table
from analysis.tables.effects import build_effect_table, build_other_effects_table
from analysis.tables.predictions import build_prediction_table
from analysis.tables.runs import build_run_table
from analysis.tables.scores import build_all_scores_table, build_score_table
from analysis.tables.table import Table
from analysis.tables.tuning import build_tuned_effects_table, build_tuning_table
from analysis.tables.variance import build_variance_table
from uniclip.commands.definition import EXECUTOR as COMMAND_EXECUTOR


def build_tables(results: Results) -> list[Table]:
    """Return every table that the sweep has data for; the plan's caveats stand on each."""
    plan, sweep_data = results.plan, results.sweep_data
    tables = [build_score_table(results)]
    if plan.contrasts:
        tables.append(build_effect_table(results))
    design_tables = (
        build_prediction_table(results),
        build_alias_table(results),
        build_shapley_table(results),
        build_dose_table(results),
    )
    tables += [table for table in design_tables if table is not None]
    if results.tuning_comparison is not None and plan.tuning is not None:
        tables += _build_tuning_tables(results)
    if results.other_effects and results.primary_contrasts:
        tables.append(build_other_effects_table(results))
    if results.other_effects:
        tables.append(build_all_scores_table(results))
    tables += [*build_benchmark_tables(results), *build_dataset_mean_tables(results)]
    if results.data_checks:
        tables.append(
            build_data_checks_table(
                results.data_checks,
                plan.get_arm(plan.reference),
                results.contamination.by_embedding,
            )
        )
    tables += build_contamination_tables(results)
    if results.variance_components:
        tables.append(build_variance_table(results))
    if plan.components:
        tables.append(build_component_table(results))
    if plan.executor == COMMAND_EXECUTOR and results.audit_checks:
        tables.append(build_command_check_table(plan, results.audit_checks))
    if plan.comparison_facts:
        tables.append(build_comparability_table(plan, sweep_data.probes))
    return [
        *(replace(t, notes=(*plan.caveats, *t.notes)) for t in tables),
        build_run_table(
            plan.arms,
            plan.seeds,
            sweep_data.cells,
            {run: provenance.files for run, provenance in sweep_data.provenance.items()},
        ),
    ]


def _build_tuning_tables(results: Results) -> list[Table]:
    plan, heading = results.plan, results.format_heading(results.primary_score)
    kind = results.sweep_data.get_score_kind(*results.primary_score)
    assert plan.tuning is not None
    assert results.tuning_comparison is not None
    observations = results.observations[results.primary_score]
    tables = [
        build_tuning_table(
            plan, plan.tuning, observations, results.tuning_comparison, heading, kind
        )
    ]
    if plan.contrasts:
        tables.append(
            build_tuned_effects_table(
                plan.contrasts, results.effects, results.tuning_comparison, heading, kind
            )
        )
    return tables
