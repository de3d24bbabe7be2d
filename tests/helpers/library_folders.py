"""Small random models in folders, written by transformers and timm themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from uniclip.models.text_query import describe_folder

CAPTIONS = ["two small red discs on the left", "a green cat", "three blue squares on the right"]
NUM_EMBEDDINGS = 320
"""Rows of the embedding of every text encoder: more than its tokenizer has tokens."""
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SIZES, "intermediate_size": 64, "image_size": 32, "patch_size": 8}


def write_wordpiece(folder: Path) -> None:
    """Write a tokenizer like BERT's: [CLS] ... [SEP]."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special_tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=special_tokens, show_progress=False
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    _write(folder, tokenizer, "[CLS] $A [SEP]", pad_token="[PAD]", unk_token="[UNK]")


def write_unigram(folder: Path, pad_token: str = "</s>") -> None:
    """Write a tokenizer like T5's and SigLIP's: ... </s>, without a start token."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special_tokens = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=special_tokens, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    _write(folder, tokenizer, "$A </s>", pad_token=pad_token, unk_token="<unk>")


def write_byte_bpe(folder: Path) -> None:
    """Write a tokenizer like CLIP's, whose padding is its end token."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    special_tokens = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    _write(folder, tokenizer, "<|startoftext|> $A <|endoftext|>", pad_token="<|endoftext|>")


def _write(folder: Path, tokenizer: tokenizers.Tokenizer, template: str, **tokens: str) -> None:
    special = [(t, tokenizer.token_to_id(t)) for t in template.split() if t != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(template, special_tokens=special)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(
        folder
    )


def write_text_model(kind: str, folder: Path) -> nn.Module:
    """Write an encoder of texts with its tokenizer and return it."""
    torch.manual_seed(0)
    ids = {"vocab_size": NUM_EMBEDDINGS, "pad_token_id": 0}
    mlp = {"intermediate_size": 64, "max_position_embeddings": 40}
    model: nn.Module
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**SIZES, **mlp, **ids))
        write_wordpiece(folder)
    elif kind == "roberta":
        model = transformers.RobertaModel(transformers.RobertaConfig(**SIZES, **mlp, **ids))
        write_wordpiece(folder)
    elif kind == "modernbert":
        special = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
        config = transformers.ModernBertConfig(**SIZES, **mlp, **ids, **special)
        model = transformers.ModernBertModel(config)
        write_wordpiece(folder)
    else:
        assert kind == "t5", kind
        config = transformers.T5Config(
            d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=NUM_EMBEDDINGS
        )
        model = transformers.T5EncoderModel(config)
        write_unigram(folder, pad_token="<pad>")
    model.eval().save_pretrained(folder)  # type: ignore[operator]
    return model


def write_clip(folder: Path) -> transformers.CLIPModel:
    """Write a CLIPModel with its tokenizer and return it."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "vocab_size": NUM_EMBEDDINGS}
    text = {**SIZES, "intermediate_size": 128, "max_position_embeddings": 24, **ids}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder)
    write_byte_bpe(folder)
    return model


def write_siglip(folder: Path) -> transformers.SiglipModel:
    """Write a SiglipModel with its tokenizer and return it."""
    torch.manual_seed(0)
    ids = {"vocab_size": NUM_EMBEDDINGS, "pad_token_id": 1, "eos_token_id": 1, "bos_token_id": 2}
    text = {**SIZES, "intermediate_size": 64, "max_position_embeddings": 16, **ids}
    config = transformers.SiglipConfig(
        text_config={**text, "projection_size": 32}, vision_config=VISION
    )
    model = transformers.SiglipModel(config).eval()
    with torch.no_grad():  # biases are zero at first, and would hide an error
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    write_unigram(folder)
    return model


def write_timm(name: str, path: Path, **options: Any) -> nn.Module:
    """Write a model of timm with its classifier to a safetensors file, and return it."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **options).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return model


def text_values(folder: Path, **values: Any) -> dict[str, Any]:
    """Return the text section of a configuration that names a folder."""
    content = json.loads((folder / "config.json").read_text())
    facts = describe_folder(content)
    return {**facts, "folder": str(folder), "tokenizer": "folder", **values}
