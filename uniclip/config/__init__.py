"""The configuration of a run: frozen dataclasses, bound from plain dictionaries."""

from uniclip.config.data import (
    DATA,
    CsvData,
    DataConfig,
    MixData,
    OpenmojiData,
    RedrawProbabilities,
    ScenesData,
    WebdatasetData,
)
from uniclip.config.derived import CLIP_VOCAB_SIZE
from uniclip.config.huggingface_data import HuggingfaceData
from uniclip.config.methods import (
    METHODS,
    ClipMethod,
    DeclipMethod,
    MethodConfig,
    SiglipMethod,
    SlipMethod,
    UniclipMethod,
    UniclMethod,
    ViewsConfig,
)
from uniclip.config.model import ImageConfig, ModelConfig, TextConfig
from uniclip.config.schema import (
    RUN_ONLY,
    RunConfig,
    RuntimeConfig,
    TrainConfig,
    build_run_config,
    complete_run_values,
    select_run_only,
)

__all__ = [
    "CLIP_VOCAB_SIZE",
    "ClipMethod",
    "CsvData",
    "DATA",
    "DataConfig",
    "DeclipMethod",
    "HuggingfaceData",
    "ImageConfig",
    "METHODS",
    "MethodConfig",
    "MixData",
    "ModelConfig",
    "OpenmojiData",
    "RUN_ONLY",
    "RedrawProbabilities",
    "RunConfig",
    "RuntimeConfig",
    "ScenesData",
    "SiglipMethod",
    "SlipMethod",
    "TextConfig",
    "TrainConfig",
    "UniclMethod",
    "UniclipMethod",
    "ViewsConfig",
    "WebdatasetData",
    "build_run_config",
    "complete_run_values",
    "select_run_only",
]
