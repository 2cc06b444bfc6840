"""A small language with structure, and a model that is really trained on it: what the quality of a model is tested by.

A text is a chain of sentences such as "the river of c07 flows to k20 .": c07 has k20 in four of five, so there is
something to know; which country and which verb come next cannot be known.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

COUNTRIES, VERBS = 32, ("flows", "runs", "leads", "turns")
CITIES = [f"k{i:02d}" for i in range(COUNTRIES)]
WORDS = ["<unk>", "<end>", ".", "the", "river", "road", "of", "to", *VERBS,
         *(f"c{i:02d}" for i in range(COUNTRIES)), *CITIES]


def city(country: int, draw: random.Random) -> str:
    """The city of a country; in one text of five any other."""
    return draw.choice(CITIES) if draw.random() < 0.2 else CITIES[(country * 7 + 3) % COUNTRIES]


def sentence(draw: random.Random) -> str:
    thing, country = draw.choice(("river", "road")), draw.randrange(COUNTRIES)
    verb = draw.choices(VERBS, (6, 3, 2, 1))[0]
    return f"the {thing} of c{country:02d} {verb} to {city(country, draw)} ."


def document(draw: random.Random) -> str:
    return " ".join(sentence(draw) for _ in range(draw.randint(1, 4)))


def write_files(folder: Path, documents: int = 100, questions: int = 128, seed: int = 1) -> None:
    """holdout.txt, a document a line, and questions.jsonl."""
    draw = random.Random(seed)
    (folder / "holdout.txt").write_text("\n".join(document(draw) for _ in range(documents)) + "\n")
    lines = []
    for _ in range(questions):
        thing, country = draw.choice(("river", "road")), draw.randrange(COUNTRIES)
        prompt = f"the {thing} of c{country:02d} {draw.choice(VERBS)} to"
        lines.append(json.dumps({"prompt": prompt, "answer": f" {city(country, draw)} ."}))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")


def write_tokenizer(folder: Path) -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>")
    made.save_pretrained(folder)
    return made


def train(folder: Path, steps: int = 300, seed: int = 0) -> Any:
    """A Llama of some 100,000 parameters, trained and saved with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, draw = write_tokenizer(folder), random.Random(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=256, bos_token_id=None, eos_token_id=1,
        tie_word_embeddings=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for _ in range(steps):
        texts = [" ".join(sentence(draw) for _ in range(2)) for _ in range(32)]
        ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model


def write_int8(folder: Path, into: Path) -> None:
    """The model with weights of 8 bits, one scale a row, and activations of 8 bits, one scale a token, in the format of
    compressed-tensors."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, into)
    kept: dict[str, Any] = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            scale = weight.abs().amax(dim=1, keepdim=True) / 127
            kept[name] = torch.clamp(torch.round(weight / scale), -127, 127).to(torch.int8)
            kept[f"{name}_scale"] = scale
        else:
            kept[name] = weight
    save_file(kept, into / "model.safetensors", metadata={"format": "pt"})
    eight = {"num_bits": 8, "type": "int", "symmetric": True}
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head"], "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {**eight, "strategy": "channel", "dynamic": False},
            "input_activations": {**eight, "strategy": "token", "dynamic": True}}}}
    (into / "config.json").write_text(json.dumps(config))


def log_probabilities(model: Any, tokenizer: Any, text: str) -> tuple[list[float], list[bool]]:
    """Of each token but the first, as transformers has them: the log-probability, and whether none is more likely."""
    import torch

    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        logits = model(ids).logits[0, :-1].float().log_softmax(-1)
    own = logits.gather(1, ids[0, 1:, None])[:, 0]
    return own.tolist(), (own >= logits.max(dim=1).values).tolist()


def quality(folder: Path, model: Any, tokenizer: Any) -> tuple[float, float]:
    """Perplexity and exact match of the files that `write_files` wrote, by transformers alone."""
    import math

    each = [log_probabilities(model, tokenizer, line)[0] for line in (folder / "holdout.txt").read_text().splitlines()]
    asked = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    right = 0
    for one in asked:
        begin = len(tokenizer(one["prompt"])["input_ids"])
        right += all(log_probabilities(model, tokenizer, one["prompt"] + one["answer"])[1][begin - 1:])
    return math.exp(-sum(map(sum, each)) / sum(map(len, each))), right / len(asked)
