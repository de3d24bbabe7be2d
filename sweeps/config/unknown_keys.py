"""The error for a key that does not exist: the nearest keys by meaning, then by spelling."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from sweeps.config.library_names import answer_library_name
from uniclip.errors import UserError

SYNONYMS: dict[str, tuple[str, ...]] = {
    # optimizer and schedule
    "train.learning_rate": ("lr", "learningrate", "base_lr", "peak_lr", "max_lr", "eta"),
    "train.batch_size": (
        *("bs", "batch", "batchsize", "train_batch_size", "global_batch_size", "batch_size"),
        "per_device_train_batch_size",
    ),
    "train.steps": (
        *("epoch", "epochs", "num_epochs", "num_train_epochs", "max_epochs", "n_epochs"),
        *("max_steps", "num_steps", "total_steps", "train_steps", "iterations", "iters"),
        *("max_iter", "num_iterations", "train_num_samples"),
    ),
    "train.optimizer": ("optimizer", "opt", "optim", "optimizer_name"),
    "train.optimizer_options": ("opt_kwargs", "optimizer_kwargs", "opt_args"),
    "train.ema_decay": ("ema", "model_ema", "model_ema_decay", "ema_rate", "use_ema"),
    "train.patch_drop_rate": ("patch_dropout", "force_patch_dropout", "patch_drop", "mask_ratio"),
    "train.weight_decay": ("wd", "weightdecay", "decay", "l2"),
    "train.warmup_ratio": ("warmup", "warmup_steps", "warmup_epochs", "warmup_fraction"),
    "train.warmup_start_lr": ("warmup_lr",),
    "train.min_lr": ("lr_min", "eta_min", "final_lr", "lr_cooldown_epochs"),
    "train.adam_betas": ("betas", "beta1", "beta2", "adam_beta1", "adam_beta2", "opt_betas"),
    "train.adam_eps": ("eps", "adam_epsilon", "epsilon", "opt_eps"),
    "train.grad_clip_norm": (
        *("grad_clip", "clip_grad", "clip_grad_norm", "max_grad_norm", "gradient_clip_val"),
        *("gradient_clipping", "clip_norm"),
    ),
    "train.grad_cache_chunks": (
        *("accum_freq", "accum", "grad_accum", "grad_accum_steps", "accumulate_grad_batches"),
        *("gradient_accumulation_steps", "gradient_accumulation", "chunks", "micro_batch"),
    ),
    "train.precision": ("amp", "fp16", "bf16", "fp32", "dtype", "mixed_precision", "half"),
    "train.numerics": (
        *("tf32", "allow_tf32", "torchcompile", "torch_compile", "compile", "deterministic"),
        "cudnn_benchmark",
    ),
    "train.activation_checkpointing": (
        *("grad_checkpointing", "gradient_checkpointing", "activation_checkpoint", "remat"),
        "checkpointing",
    ),
    "train.num_threads": ("threads", "omp_num_threads", "torch_threads"),
    "train.validate_every": (
        *("val_frequency", "eval_every", "eval_steps", "val_every", "val_check_interval"),
        *("eval_frequency", "validation_every"),
    ),
    # execution
    "runtime.num_workers": (
        *("workers", "data_workers", "dataloader_num_workers", "loader_workers", "num_proc"),
        *("dataloader_workers", "num_workers"),
    ),
    "launcher.max_workers": (
        *("workers", "slots", "jobs", "num_jobs", "processes", "num_processes"),
        *("nproc", "parallel", "max_parallel", "concurrency"),
    ),
    "runtime.device": ("device", "cuda", "gpu", "use_cuda", "no_cuda", "accelerator"),
    "runtime.checkpoint_seconds": (
        *("save_frequency", "save_every", "save_steps", "checkpoint_every", "ckpt_every"),
        "save_most_recent",
    ),
    "runtime.log_every": ("log_interval", "log_every_n_steps", "logging_steps", "print_freq"),
    "runtime.data_root": ("dataset_root", "root", "data_dir", "datadir", "imagenet_val"),
    "runtime.protocol": ("templates", "prompts", "eval_protocol"),
    # cluster
    "launcher.gpus_per_node": (
        *("gpus", "num_gpus", "ngpus", "n_gpus", "world_size", "gpu_count", "gpus_per_task"),
        "devices",
    ),
    "launcher.timeout_min": (
        *("time", "walltime", "minutes", "hours", "time_limit", "timeout", "time_min"),
    ),
    "launcher.mem_gb": ("mem", "memory", "ram", "mem_per_cpu"),
    "launcher.cpus_per_task": ("cpus", "num_cpus", "cores", "n_cpus", "ncpus"),
    "launcher.nodes": ("num_nodes", "nnodes", "n_nodes"),
    "launcher.tasks_per_node": (
        *("ntasks", "ntasks_per_node", "tasks", "nproc_per_node", "processes_per_run"),
        *("processes_per_node", "gpus_per_run"),
    ),
    "launcher.partition": ("queue", "partition"),
    "launcher.constraint": ("feature", "features", "gpu_type"),
    # model
    "model.image.name": (
        *("model_name", "arch", "backbone", "architecture", "vision_model", "timm_model"),
        *("encoder", "timm_model_name", "image_model"),
    ),
    "model.image.image_size": (
        *("img_size", "image_size", "resolution", "force_image_size", "input_size", "res"),
        *("size", "crop_size"),
    ),
    "data.image_size": ("img_size", "image_size", "resolution", "size"),
    "model.image.pretrained": ("pretrained_image", "timm_model_pretrained", "pretrained_timm"),
    "model.text.folder": (
        *("text_model", "hf_model_name", "hf_tokenizer_name", "text_encoder", "bert"),
        *("tokenizer_name", "text_model_name_or_path"),
    ),
    "model.text.pooling": ("hf_pooler_type", "pooler_type", "pool_type", "pooling"),
    "train.layer_decay": ("layer_lr_decay", "llrd", "lr_decay", "layer_decay"),
    "model.embed_dim": ("dim", "embedding_dim", "embedding_size", "projection_dim"),
    "model.text.context_length": ("max_length", "max_len", "seq_len", "sequence_length"),
    "model.text.vocab_size": ("vocab",),
    "model.text.width": ("hidden_size", "d_model"),
    "model.text.layers": ("depth", "num_layers", "n_layers"),
    "model.text.heads": ("num_heads", "n_heads"),
    "pretrained": (
        *("init", "checkpoint", "ckpt", "weights", "resume", "load"),
        *("finetune", "initial_checkpoint", "model_path", "from_pretrained"),
    ),
    "lock": ("lock_image", "lock_text", "freeze", "freeze_image", "freeze_text", "frozen"),
    "allow_torchscript": ("trust", "torchscript", "trust_remote_code"),
    "method.temperature": ("tau", "logit_scale", "init_logit_scale", "temp"),
    "method.bias": ("logit_bias", "init_logit_bias", "bias_init"),
    "method.augmentation_input": ("aware", "awareness"),
    "views.num_strong": ("views", "num_views", "n_views", "num_crops"),
    "views.min_crop_scale": ("aug_cfg", "scale", "crop_scale", "rrc_scale"),
    "views.made_on": ("gpu_augment", "gpu_augmentation", "device_views", "dali", "kornia"),
    # data
    "data": ("dataset", "dataset_type", "dataset_name", "source"),
    "data.path": (
        *("csv", "train_data", "train_file", "data_path", "csv_path", "csv_file", "file"),
        *("path", "shards", "train_shards", "wds", "tars", "urls"),
    ),
    "data.weights": ("train_data_upsampling_factors", "upsampling_factors", "mixture"),
    "data.where": ("filter", "select", "condition"),
    "data.test_path": ("val_data", "test_file", "test_data", "validation_file"),
    "data.separator": ("csv_separator", "delimiter", "sep", "csv_sep"),
    "data.image_column": ("img_key", "csv_img_key", "image_key", "image_col", "picture"),
    "data.caption_column": ("caption_key", "csv_caption_key", "text_key", "text_column", "caption"),
    "data.label_column": ("label", "label_key", "class_column", "target"),
    "data.split_column": ("split", "split_key"),
    "data.validation_fraction": ("validation", "val_split", "val_fraction", "val_size", "val"),
    "data.test_fraction": ("test", "test_split", "test_size"),
    "benchmark": ("zeroshot", "zero_shot", "eval", "eval_datasets", "benchmarks", "test_sets"),
    # the sweep
    "budget": ("preset", "scale"),
    "method": ("loss", "objective", "algorithm"),
    "model": ("net", "network"),
    "recipe": ("hparams", "hyperparameters", "recipes"),
    "launcher": ("cluster", "slurm", "backend", "executor"),
    "ablation": ("experiment", "study", "exp", "sweep", "suite", "config_name"),
    "arms": ("arm", "methods", "variants", "configs"),
    "seeds": ("seed", "num_seeds", "n_seeds", "repeats", "runs", "trials"),
    "store": (
        *("out", "output", "output_dir", "outdir", "out_dir", "logs", "log_dir", "logdir"),
        *("save_dir", "results", "workdir", "work_dir", "dir", "folder", "root_dir"),
    ),
    "conf_dir": ("config", "conf", "config_dir", "cfg", "config_path", "conf_path"),
    "outdated": ("stale",),
    "max_gpu_hours": ("gpu_hours", "max_hours", "budget_hours"),
    "n_trials": ("trials", "num_trials", "num_samples"),
    "space": ("search_space", "params"),
}
"""Key -> words that users of open_clip, timm, transformers or Slurm type for it."""
OPTIMIZER_NOTE = (
    "it is an option of the optimizer: write train.optimizer=sgd "
    "train.optimizer_options={momentum:0.9}"
)
SCHEDULE_NOTE = "the schedule is a linear warm-up and a cosine decay: see list keys train"
IMAGE_OPTION_NOTE = (
    "it is an argument of timm's model, where timm has it: write "
    "model.image.options={<argument>:<value>}"
)
TEXT_OPTION_NOTE = (
    "it is an option of transformers' configuration, where the encoder has it: write "
    "model.text.options={<option>:<value>}"
)
AUGMENTATION_NOTE = "views are augmented as views.* states: see list keys views"
NOTES: dict[str, str] = {
    **dict.fromkeys(("momentum", "nesterov"), OPTIMIZER_NOTE),
    **dict.fromkeys(("scheduler", "schedule", "lr_scheduler", "lr_schedule"), SCHEDULE_NOTE),
    **dict.fromkeys(("sched", "lr_scheduler_type"), SCHEDULE_NOTE),
    **dict.fromkeys(("augment", "augmentation", "transform", "transforms"), AUGMENTATION_NOTE),
    **dict.fromkeys(("aa", "mixup", "cutmix", "reprob", "color_jitter"), AUGMENTATION_NOTE),
    **dict.fromkeys(("drop_rate", "drop_path", "drop_path_rate"), IMAGE_OPTION_NOTE),
    **dict.fromkeys(("global_pool", "patch_size"), IMAGE_OPTION_NOTE),
    **dict.fromkeys(("intermediate_size", "hidden_dropout_prob"), TEXT_OPTION_NOTE),
}
"""Word for something that no single key sets -> what sets it."""
HERE_INSTEAD = {
    "launcher.gpus_per_node": "on this machine write launcher.tasks_per_node=<GPUs of a run>"
}
"""Key of another launcher -> what to do with launcher=local."""
TUNE_KEYS = (
    *("n_trials", "space", "tuning_seeds", "parallel_trials", "storage"),
    *("sampler", "sampler_options", "sampler_seed", "pruner", "pruner_options"),
)
"""Keys of the command tune alone."""


def make_unknown_key_error(
    key: str, known_keys: Collection[str], choices_by_key: Mapping[str, str] | None = None
) -> UserError:
    """Return the error for an unknown `key`.

    Args:
        key: The key as typed.
        known_keys: Every key that exists here; groups included.
        choices_by_key: Key that exists with another choice of a group only -> that choice, such as
            {"data.path": "data=csv"}.
    """
    choices_by_key = choices_by_key or {}
    known_keys = [name for name in known_keys if not name.endswith(".name") or "image" in name]
    leaf = _normalize(key.rsplit(".", 1)[-1])
    answer = answer_library_name(key)
    if answer is not None:
        return UserError(f"unknown key {key!r}: {answer}")
    if key in TUNE_KEYS:
        return UserError(f"unknown key {key!r}: it is a key of tune (python sweep.py tune ...)")
    if leaf in NOTES:
        return UserError(f"unknown key {key!r}: {NOTES[leaf]}")
    if key in choices_by_key:
        choice = choices_by_key[key]
        instead = HERE_INSTEAD.get(key, f"leave {key}= out")
        return UserError(f"{key} is a key of {choice}: add {choice}, or {instead}")
    suggestions = suggest_keys(key, [*known_keys, *choices_by_key])
    sections = {name.split(".")[0] for name in known_keys if "." in name}
    has_section = key.split(".")[0] in sections and "." in key
    close_sections = get_close_matches(key, sections, n=1, cutoff=0.8 if suggestions else 0.6)
    if suggestions and (has_section or not close_sections):
        names = " or ".join(
            f"{name} (of {choices_by_key[name]})" if name in choices_by_key else name
            for name in suggestions
        )
        return UserError(f"unknown key {key!r}: did you mean {names}?")
    section = key.split(".")[0]
    siblings = [name for name in known_keys if name.startswith(f"{section}.")]
    if siblings and "." in key:
        return UserError(f"unknown key {key!r}: the keys are {', '.join(sorted(siblings))}")
    if close_sections:
        return UserError(f"unknown key {key!r}: did you mean {close_sections[0]}.*?")
    roots = {name.split(".")[0] + (".*" if "." in name else "") for name in known_keys}
    return UserError(f"unknown key {key!r}: the keys are {', '.join(sorted(roots))}; see list keys")


def suggest_keys(key: str, known_keys: Iterable[str]) -> list[str]:
    """Return at most three keys that a word may mean: synonyms, or the nearest by spelling."""
    known = list(dict.fromkeys(known_keys))
    word, leaf = _normalize(key), _normalize(key.rsplit(".", 1)[-1])
    leaf_by_name = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    synonyms = [name for name, words in SYNONYMS.items() if leaf in words and name in known]
    if synonyms:
        return _prefer_section(key, synonyms)[:3]
    close = get_close_matches(word, known, n=3, cutoff=0.8)
    if close:
        return _prefer_section(key, close)
    exact = [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    suggestions = [*exact, *get_close_matches(word, known, n=3, cutoff=0.75)]
    suggestions += [
        leaf_by_name[name] for name in get_close_matches(leaf, list(leaf_by_name), n=2, cutoff=0.7)
    ]
    if not suggestions and len(leaf) >= 4:
        suggestions = [name for name in known if leaf in name.rsplit(".", 1)[-1]]
    if not suggestions:
        all_words = [word for words in SYNONYMS.values() for word in words]
        nearest = get_close_matches(leaf, all_words, n=1, cutoff=0.85)
        suggestions = [k for k, words in SYNONYMS.items() if k in known and {*nearest} & {*words}]
    return list(dict.fromkeys(suggestions))[:3]


def _normalize(word: str) -> str:
    return word.lstrip("-").replace("-", "_").lower()


def _prefer_section(key: str, names: list[str]) -> list[str]:
    """Return only the names of the section that was typed, if there is one among them."""
    section = key.rpartition(".")[0]
    return [n for n in names if section and n.rpartition(".")[0] == section] or names
