"""One run of a configuration, in this process: for programs that compose it with Hydra.

The run is claimed as by a sweep, so that it is trained once, whoever asks for it: a sweep with the
same cell finds it complete, and a run that was interrupted continues.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from ablations.plan.plan import build_specs, resolve_evaluations
from sweeps.claims.claim import claim_run
from sweeps.claims.status import RunState, inspect_run
from sweeps.launchers.attempt_execution import StopFlag, execute_attempt
from sweeps.launchers.cell_executor import load_executor
from sweeps.slurm import Slurm
from uniclip import data
from uniclip.config import RunConfig, build_run_config, plugins, select_run_only
from uniclip.config.binding import to_builtins
from uniclip.errors import RetryLater, UserError
from uniclip.identity import compute_run_id
from uniclip.store import AttemptFolder, RetryPolicy, RunFolder, RunStatus, Store

EXECUTOR = "uniclip.cell"


def run_config(
    config: RunConfig | Mapping[str, Any],
    *,
    store: str | Path = "store",
    ignore: Collection[str] = (),
) -> RunFolder:
    """Train and evaluate the run of a configuration, unless the store has it; return its folder.

    The output of the run goes to the log of its attempt.

    Args:
        config: A configuration as `uniclip.config.hydra_configs` composes it (a DictConfig), plain
            values, or a bound one.
        store: Folder of the store.
        ignore: Keys of the top level that are not of the run: your own.

    Raises:
        UserError: a key or value is not valid, data are missing, or the run failed.
        RetryLater: another process executes the run.
        KeyboardInterrupt: the run was interrupted; the same call continues it.
    """
    bound = config if isinstance(config, RunConfig) else bind_config(config, ignore)
    missing = data.describe_missing(bound.data)
    if missing:
        raise UserError(f"data={bound.data.name}: {missing}")
    spec = build_specs({"run": bound}, (bound.seed,))["run", bound.seed]
    folder = Store(store)
    folder.share_with_group()
    run = folder.get_run(compute_run_id(spec))
    evaluations, missing_datasets, _ = resolve_evaluations({"run": bound}, folder.cache_path)
    for name, instructions in missing_datasets.items():
        warnings.warn(f"not evaluated on {name}: {instructions}", stacklevel=2)
    state = inspect_run(run, evaluations["run"], Slurm().find_end_reason)
    if state.status in (RunStatus.COMPLETE, RunStatus.DIVERGED, RunStatus.OUTDATED):
        return run
    run.write_spec(spec)
    _execute(folder, run, bound, evaluations["run"], state)
    return run


def bind_config(config: Mapping[str, Any], ignore: Collection[str] = ()) -> RunConfig:
    """Return the bound configuration of a run.

    Args:
        config: A DictConfig of OmegaConf, or plain values.
        ignore: Keys of the top level that are left out.

    Raises:
        UserError: a key is unknown or missing, or a value is not valid.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        container = OmegaConf.to_container(
            config if OmegaConf.is_config(config) else OmegaConf.create(dict(config)),
            resolve=True,
            throw_on_missing=True,
        )
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration: {' '.join(str(error).split())[:200]}") from None
    assert isinstance(container, dict)
    values = {str(key): value for key, value in container.items() if key not in ignore}
    run_keys = [field.name for field in fields(RunConfig)]
    for key in values:
        if key not in run_keys:
            raise UserError(
                f"{key} is no key of a run: leave it out, or give ignore=[{key!r}] if it is yours; "
                f"a run has {', '.join(run_keys)}"
            )
    plugins.import_plugins((values.get("runtime") or {}).get("plugins") or ())
    return build_run_config(values)


def _execute(
    store: Store,
    run: RunFolder,
    config: RunConfig,
    evaluations: Mapping[str, str],
    state: RunState,
) -> None:
    """Claim the next attempt of a run and execute it in this process."""
    run_only = select_run_only(to_builtins(config), {})
    attempt = claim_run(
        store,
        run,
        state,
        lambda: load_executor(EXECUTOR).resolve_numerics_class(run, run_only),
        policy=RetryPolicy(retry_attempts=((run.id, state.attempt),)),
        prepare_run=partial(RunFolder.write_spec, spec=run.read_spec()),
    )
    if attempt is None:
        raise RetryLater(f"run {run.id} is executed by another process ({state.status})")
    executor, stop = load_executor(EXECUTOR), StopFlag()
    try:
        exit_kind = execute_attempt(
            run, attempt, partial(executor.execute, run, run_only, attempt, evaluations, stop), stop
        )
    except BaseException:  # this process lives on, so the attempt would count as running
        attempt.write_end("interrupted")
        raise
    if exit_kind == "failed":
        raise UserError(_describe_failure(run, attempt))


def _describe_failure(run: RunFolder, attempt: AttemptFolder) -> str:
    end = attempt.read_end()
    return f"run {run.id} failed: {end.error if end else 'no message'}; log: {attempt.log_path}"
