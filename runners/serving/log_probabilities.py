"""Perplexity and exact match by the log-probabilities that a server gives of a prompt, over `/v1/completions`.

A request echoes its prompt with the log-probability of each of its tokens, and of the token that is most likely there
(`echo`, `logprobs: 1`); the one token that it also makes is dropped. Nothing is drawn: temperature 0.

Notation: D documents; n_d tokens of document d that have one before them; L_d the sum of their log-probabilities.

  perplexity     exp(-m), m = Σ L_d / Σ n_d. Tokens of a document resemble each other, so documents are the sample:
                 the standard error of m is that of a ratio, √(D/(D-1) · Σ (L_d - m n_d)²) / Σ n_d (Cochran, Sampling
                 Techniques, 1977, eq. 2.46); of one document it is that of the mean over its tokens.
  exact match    the share of answers of which every token is the most likely one: those that greedy decoding gives.
                 The standard error is √(p(1-p)/D) at p = (k + ½)/(D + 1) (Jeffreys), which is not 0 where all match.
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from planner.space.types import StudyError
from runners.serving.client import Target

__all__ = ["EvaluationError", "LogProbabilities", "exact_match_of", "perplexity_of", "read_documents", "read_questions"]

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE: Final = 8
_LONGEST_REASON: Final = 300
_LEAST_MEAN: Final = -700.0  # of which floating point knows the exponential


class EvaluationError(Exception):
    """The quality could not be evaluated. The text is the reason, one line."""


@dataclass(frozen=True, slots=True)
class _Echo:
    """The tokens of a prompt but the first: their log-probabilities, and those of the most likely token there. count:
    tokens of the prompt."""

    own: tuple[float, ...]
    best: tuple[float, ...]
    count: int


class LogProbabilities:
    """Asks a server. ends: when to give up, in seconds of time.monotonic(). Its methods raise EvaluationError."""

    def __init__(self, target: Target, ends: float) -> None:
        self._target, self._ends = target, ends

    def perplexity(self, documents: Sequence[str]) -> tuple[float, float, int]:
        """Perplexity, its standard error, and the tokens that count."""
        echoes = self._each(self._echo, documents)
        return perplexity_of([echo.own for echo in echoes])

    def exact_match(self, questions: Sequence[tuple[str, str]]) -> tuple[float, float]:
        """The share of answers that match, and its standard error. questions: prompt and answer."""
        return exact_match_of(self._each(self._matches, questions))

    def _matches(self, question: tuple[str, str]) -> bool:
        prompt, answer = question
        begin, echo = self._echo(prompt).count, self._echo(prompt + answer)
        if echo.count <= begin:
            raise EvaluationError(f"the answer {answer!r} adds no token to its prompt")
        return all(own >= best for own, best in zip(echo.own[begin - 1:], echo.best[begin - 1:], strict=True))

    def _each(self, ask: Callable[[T], R], items: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return list(pool.map(ask, items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _echo(self, prompt: str) -> _Echo:
        answer = self._ask({"model": self._target.model, "prompt": prompt, "max_tokens": 1, "temperature": 0,
                            "echo": True, "logprobs": 1})
        try:
            made, found = int(answer["usage"]["completion_tokens"]), answer["choices"][0]["logprobs"]
            count = int(answer["usage"]["prompt_tokens"])
            own = found["token_logprobs"][:len(found["token_logprobs"]) - made][1:]
            best = [max(each.values()) for each in found["top_logprobs"][1:len(own) + 1]]
            if len(own) != count - 1:
                raise EvaluationError("the server gives no log-probabilities of a prompt (echo with logprobs); "
                                      "evaluate by a command")
            return _Echo(tuple(map(float, own)), tuple(map(float, best)), count)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise EvaluationError("the server's log-probabilities cannot be read "
                                  f"({type(error).__name__}: {error}); evaluate by a command") from error

    def _ask(self, body: dict[str, Any]) -> Any:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise EvaluationError("took longer than quality.timeout_s")
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self._target.base_url}/v1/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=left) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode("utf-8", errors="replace").split())
            raise EvaluationError(f"the server refused a prompt: {said[:_LONGEST_REASON] or error}") from error
        except (OSError, ValueError) as error:
            raise EvaluationError(f"the server gave no answer ({error})") from error


def perplexity_of(documents: Sequence[Sequence[float]]) -> tuple[float, float, int]:
    """Perplexity, its standard error and the tokens, from the log-probabilities of each document's tokens. Raises
    EvaluationError."""
    sums, counts = np.array([sum(one) for one in documents]), np.array([len(one) for one in documents], dtype=float)
    tokens = float(counts.sum())
    if not tokens:
        raise EvaluationError("no document has a token with another before it")
    mean, used = float(sums.sum()) / tokens, counts > 0
    if not mean > _LEAST_MEAN:
        raise EvaluationError(f"the mean log-probability of a token is {mean:.4g}: its perplexity cannot be written")
    if used.sum() > 1:
        spread = math.sqrt(used.sum() / (used.sum() - 1) * float(((sums - mean * counts) ** 2).sum())) / tokens
    else:
        each = np.concatenate([np.asarray(one, dtype=float) for one in documents])
        spread = float(np.std(each, ddof=1)) / math.sqrt(tokens) if tokens > 1 else 0.0
    perplexity = math.exp(-mean)
    return perplexity, perplexity * spread, int(tokens)


def exact_match_of(matches: Sequence[bool]) -> tuple[float, float]:
    """The share of matches, and its standard error."""
    count, right = len(matches), sum(matches)
    p = (right + 0.5) / (count + 1)
    return right / count, math.sqrt(p * (1 - p) / count)


def read_documents(path: Path, key: str) -> list[str]:
    """The documents of a text file, one a line, or of JSON Lines with `text`. Raises StudyError."""
    if path.suffix not in {".jsonl", ".json"}:
        lines = [line.strip() for line in _text(path, key).splitlines()]
        return _some([line for line in lines if line], path, key)
    return _some([text for (text,) in _fields(path, key, ("text",))], path, key)


def read_questions(path: Path, key: str) -> list[tuple[str, str]]:
    """The prompts and answers of JSON Lines. Raises StudyError."""
    return _some([(prompt, answer) for prompt, answer in _fields(path, key, ("prompt", "answer"))], path, key)


def _some(found: list[T], path: Path, key: str) -> list[T]:
    if not found:
        raise StudyError(f"{key}: {path.name} holds nothing; give a line for each document or question")
    return found


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise StudyError(f"{key}: cannot read {path.name} ({why}); it is relative to the study file") from error


def _fields(path: Path, key: str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = []
    for number, line in enumerate(_text(path, key).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            fields = tuple(entry[name] for name in names)
        except (KeyError, RecursionError, TypeError, ValueError):
            fields = ()
        if not fields or not all(isinstance(each, str) and each for each in fields):
            raise StudyError(f"{key}: line {number} of {path.name} is no JSON object with text in "
                             f"{' and '.join(names)}; correct it")
        found.append(fields)
    return found
