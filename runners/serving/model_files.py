"""A model directory that a server can load: with a tokenizer, which a server needs even for random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from planner.space.types import StudyError

__all__ = ["has_tokenizer", "with_word_tokenizer"]

_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "tiktoken.model")


def has_tokenizer(directory: Path) -> bool:
    """Whether a model directory has a tokenizer's file."""
    return any((directory / name).is_file() for name in _TOKENIZERS)


def with_word_tokenizer(directory: Path, into: Path) -> Path:
    """A copy of a bare model directory in `into`, with a tokenizer that has a word for each token of the vocabulary.

    Each token is one word, so that prompts have exactly the lengths asked for. Raises StudyError if config.json has no
    vocab_size.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    size = config.get("vocab_size")
    if not isinstance(size, int) or size < 3:
        raise StudyError(f"runner.model: {directory.name}/config.json has no vocab_size; add a tokenizer, or name one "
                         "by runner.tokenizer")
    into.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        if file.is_file():
            shutil.copy(file, into / file.name)
    special = {"<unk>": 0, "<s>": _id(config, "bos_token_id", 1), "</s>": _id(config, "eos_token_id", 2)}
    words = {f"w{number}": number for number in range(size) if number not in special.values()}
    (into / "tokenizer.json").write_text(json.dumps(_tokenizer({**special, **words}, special)), encoding="utf-8")
    (into / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
        "model_max_length": config.get("max_position_embeddings", size)}), encoding="utf-8")
    return into


def _id(config: dict[str, Any], key: str, default: int) -> int:
    found = config.get(key)
    return found if isinstance(found, int) and 0 < found < config["vocab_size"] else default


def _tokenizer(vocabulary: dict[str, int], special: dict[str, int]) -> dict[str, Any]:
    """The content of a tokenizer.json, in the format of Hugging Face's tokenizers."""
    added = [{"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for word, number in _by_number(special)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": dict(_by_number(vocabulary)), "unk_token": "<unk>"}}


def _by_number(words: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(words.items(), key=lambda pair: pair[1])
