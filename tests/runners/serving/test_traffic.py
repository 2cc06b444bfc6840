"""Traffic: files of each form are read, scaled, cut and written; what cannot be read is named with its line."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.space.types import StudyError
from planner.tables.traffic import Traffic
from planner.tables.traffic_file import is_sharegpt, read_traffic
from runners.serving.traffic import Lengths, synthetic, timed_trace_options, write_timed_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.6805900,396,109
2023-11-16 18:15:51.1805900,879,55
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""


def mooncake(rows: Sequence[Sequence[Any]], **more: Any) -> str:
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    return "".join(json.dumps({**dict(zip(names, row, strict=False)), **more}) + "\n" for row in rows)


SHARING = mooncake([(0, 1100, 20, [0, 1, 2]), (500, 1024, 30, [0, 1]), (2000, 1600, 10, [0, 1, 5, 6])])


def written(folder: Path, text: str, name: str = "traffic.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def even(n: int, gap: float = 1.0, **more: Any) -> Traffic:
    """n requests, gap seconds apart, each of a length of its own."""
    return Traffic("t", np.arange(n) * gap, np.arange(n) + 10, np.full(n, 4), **more)


# ------------------------------------------------------------------------------------------------------------ files


def test_azure_counts_seconds_from_its_first_request(tmp_path: Path) -> None:
    read = read_traffic(written(tmp_path, AZURE))
    assert read.arrivals == pytest.approx([0, 4, 4.5])
    assert read.input_len.tolist() == [374, 396, 879] and read.output_len.tolist() == [44, 109, 55]
    assert not read.blocks and not read.notes and read.rate == pytest.approx(2 / 4.5)
    assert read.mean_input_len == pytest.approx(1649 / 3) and read.mean_output_len == pytest.approx(208 / 3)


def test_dates_with_a_zone_are_read(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,3,4\n2024-05-10 02:00:02+02:00,3,4\n"
    assert read_traffic(written(tmp_path, text)).arrivals == pytest.approx([0, 1.5])


def test_burstgpt_is_in_seconds_and_its_failures_are_counted(tmp_path: Path) -> None:
    read = read_traffic(written(tmp_path, BURSTGPT))
    assert read.arrivals.tolist() == [0, 113] and read.output_len.tolist() == [18, 276]
    assert read.notes == ("1 of 3 requests of traffic.csv have no tokens and are left out",)


def test_mooncake_is_in_milliseconds_and_shares_blocks(tmp_path: Path) -> None:
    read = read_traffic(written(tmp_path, SHARING))
    assert read.arrivals.tolist() == [0, 0.5, 2] and read.block_tokens == 512
    assert read.blocks == ((0, 1, 2), (0, 1), (0, 1, 5, 6))


def test_qwens_blocks_and_seconds_are_told_apart(tmp_path: Path) -> None:
    text = mooncake([(0, 33, 20, [7, 8, 9]), (61.5, 17, 5, [7, 4])], chat_id=1)
    read = read_traffic(written(tmp_path, text))
    assert read.arrivals.tolist() == [0, 61.5] and read.block_tokens == 16


def test_a_prompt_without_blocks_gets_its_own(tmp_path: Path) -> None:
    text = mooncake([(0, 600, 20, [0, 1]), (1, 512, 5, [0]), (2, 700, 5)])
    read = read_traffic(written(tmp_path, text))
    assert read.blocks[:2] == ((0, 1), (0,)) and len(read.blocks[2]) == 2 and not {0, 1} & set(read.blocks[2])


def test_other_names_and_any_order_are_read(tmp_path: Path) -> None:
    text = "arrival_time,Prompt_Tokens,completion-tokens\n7.5,10,1\n\n3,20,2\n"
    read = read_traffic(written(tmp_path, text))
    assert read.arrivals.tolist() == [0, 4.5] and read.input_len.tolist() == [20, 10]


@pytest.mark.parametrize(("text", "says"), [
    (AZURE + "2023-11-16 18:16:00,x,4\n", "line 5: ContextTokens is 'x', which is no number of tokens; correct"),
    (AZURE + "2023-11-16 18:16:00,1.5,4\n", "line 5: ContextTokens is '1.5'"),
    (AZURE + "2023-11-16 18:16:00,-3,4\n", "line 5: ContextTokens is '-3'"),
    (AZURE + "yesterday,3,4\n", "line 5: TIMESTAMP is 'yesterday', which is no time; write a number or a date"),
    (AZURE + "2023-11-16 18:16:00,3\n", "line 5: has 2 cells, the header 3; correct or delete the line"),
    (SHARING + "{\n", "line 4: is no JSON object; write one a line"),
    (SHARING + '{"timestamp": 3, "input_length": 4}\n', "line 4: output_length is missing"),
    (SHARING + '{"timestamp": true, "input_length": 4, "output_length": 4}\n', "line 4: timestamp is True"),
    (mooncake([(0, 3, 3, "x")]), "line 1: hash_ids is not a list of whole numbers"),
    (mooncake([(0, 3, 3, [-1])]), "line 1: hash_ids is not a list of whole numbers"),
    (mooncake([(0, 3000, 3, [1])]), "line 1: 1 hash_ids for 3000 tokens; blocks of 512 or 16 tokens are known"),
    ("time,input_len\n1,2\n", "has no column of output tokens (it has time, input_len); name its columns timestamp"),
    ("a,b\n1,2\n", "has no column of arrival times"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,0,0\n", "no request has tokens"),
    ("", "has no requests"), ("[1]", "is one JSON list; write one JSON object a line"),
    ('[{"conversations": [{"value": "a"}, {"value": "b"}]}]', "name it with dataset: sharegpt"),
])
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(StudyError) as error:
        read_traffic(path)
    assert str(error.value).startswith(str(path)) and says in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"none\.csv: cannot be read .*name a file"):
        read_traffic(tmp_path / "none.csv")
    (tmp_path / "packed.gz").write_bytes(b"\x1f\x8b\x08\xff\xfe")
    with pytest.raises(StudyError, match=r"packed\.gz: is not text"):
        read_traffic(tmp_path / "packed.gz")


@pytest.mark.parametrize(("text", "is_one"), [
    ('[{"id": "a", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]', True),
    ('\n [ {"conversations": []},\n {"conversations": [{"value": "a"}, {"value": "b"}]} ]', True),
    ('[{"conversations": [{"value": "a"}]}]', False), ('[{"conversations": [1, 2]}]', False), ("[]", False),
    ('{"conversations": []}', False), (AZURE, False), (SHARING, False), ("[", False),
])
def test_conversations_are_recognised(tmp_path: Path, text: str, is_one: bool) -> None:
    assert is_sharegpt(written(tmp_path, text)) is is_one


def test_a_missing_file_is_no_conversation(tmp_path: Path) -> None:
    assert not is_sharegpt(tmp_path / "none.json")


def test_only_the_head_of_a_long_list_is_read(tmp_path: Path) -> None:
    entry = json.dumps({"conversations": [{"value": "a " * 1000}, {"value": "b"}]})
    assert is_sharegpt(written(tmp_path, "[" + ",".join([entry] * 5000) + "]"))  # 10 MB, whose end is cut off


# ---------------------------------------------------------------------------------------------------------- scaling


def test_a_rate_stretches_time_and_keeps_the_shape() -> None:
    traffic = Traffic("t", np.array([0.0, 1, 1.5, 6]), np.full(4, 10), np.full(4, 5))
    faster = traffic.scaled(rate=5)
    assert faster.rate == pytest.approx(5)
    assert faster.arrivals / faster.arrivals[-1] == pytest.approx(traffic.arrivals / 6)
    assert traffic.scaled(rate=math.inf).arrivals.tolist() == [0, 0, 0, 0]


def test_lengths_are_scaled_and_stay_above_zero() -> None:
    scaled = even(3).scaled(input_scale=0.5, output_scale=0.01)
    assert scaled.input_len.tolist() == [5, 6, 6] and scaled.output_len.tolist() == [1, 1, 1]


def test_what_is_too_long_is_left_out_before_the_rate_is_set() -> None:
    traffic = Traffic("t", np.array([0.0, 1, 2, 3]), np.array([90, 20, 96, 30]), np.full(4, 5))
    kept = traffic.scaled(rate=4, longest=95)
    assert kept.input_len.tolist() == [90, 20, 30] and kept.rate == pytest.approx(4)
    assert kept.notes == ("1 of 4 requests have more than 95 tokens and are left out",)
    assert traffic.scaled(longest=101).notes == ()
    with pytest.raises(StudyError, match="every request has more than 20 tokens; raise max_model_len"):
        traffic.scaled(longest=20)


def test_blocks_scale_with_their_prompts(tmp_path: Path) -> None:
    """Half a prompt has as many blocks of half the size, and goes on to share the same part of itself."""
    half = read_traffic(written(tmp_path, SHARING)).scaled(input_scale=0.5)
    assert half.block_tokens == 256 and half.blocks == ((0, 1, 2), (0, 1), (0, 1, 5, 6))
    for scale in (0.013, 0.37, 1.7, 3.3):
        scaled = read_traffic(written(tmp_path, SHARING)).scaled(input_scale=scale)
        covered = [len(row) * scaled.block_tokens for row in scaled.blocks]
        assert all(0 <= tokens - length < scaled.block_tokens
                   for tokens, length in zip(covered, scaled.input_len.tolist(), strict=True))
        new = [block for row in scaled.blocks for block in row if block not in {0, 1, 2, 5, 6}]
        assert len(new) == len(set(new))
        assert all(row[:1] == (0,) for row in scaled.blocks)


@pytest.mark.parametrize(("given", "says"), [
    ({"rate": 0}, "must be above 0"), ({"rate": math.nan}, "must be above 0"), ({"input_scale": 0}, "must be above 0"),
    ({"output_scale": math.inf}, "must be above 0"),
])
def test_impossible_scales_are_refused(given: dict[str, float], says: str) -> None:
    with pytest.raises(StudyError, match=says):
        even(3).scaled(**given)  # type: ignore[arg-type]


def test_requests_at_once_have_no_rate() -> None:
    assert even(3, gap=0).rate == math.inf
    with pytest.raises(StudyError, match="all arrive at once"):
        even(3, gap=0).scaled(rate=2)


# ----------------------------------------------------------------------------------------------------------- taking


def test_stretches_are_contiguous_and_differ_by_seed() -> None:
    traffic = even(100)
    starts = set()
    for seed in range(20):
        taken = traffic.taken(30, seed)
        assert len(taken) == 30 and taken.arrivals == pytest.approx(np.arange(30.0))
        assert (np.diff(taken.input_len) % 100 == 1).all()
        assert traffic.taken(30, seed).input_len.tolist() == taken.input_len.tolist()
        starts.add(int(taken.input_len[0]))
    assert len(starts) > 10


def test_a_short_file_begins_again_with_other_prompts() -> None:
    blocks = tuple((0, row + 1) for row in range(5))
    taken = even(5, blocks=blocks, block_tokens=16).taken(12, seed=3)
    assert len(taken) == 12 and taken.arrivals == pytest.approx(np.arange(12.0))
    first = int(taken.input_len[0])
    assert taken.input_len.tolist() == [10 + (first - 10 + i) % 5 for i in range(12)]
    assert len(set(taken.blocks)) == 12
    rounds = [{row[0] for row in taken.blocks[i:i + 5]} for i in (0, 5, 10)]
    assert all(len(shared) == 1 for shared in rounds) and not rounds[0] & rounds[1]
    # Within one round all requests share their first block; none shares any with another round.
    flat = [set(itertools.chain.from_iterable(taken.blocks[i:i + 5])) for i in (0, 5, 10)]
    assert not flat[0] & flat[1] and not flat[1] & flat[2]


def test_one_request_can_be_taken_often() -> None:
    assert even(1).taken(3, 0).arrivals.tolist() == [0, 0, 0]
    with pytest.raises(StudyError, match="ask for 1 or more"):
        even(1).taken(0, 0)


# -------------------------------------------------------------------------------------------------------- synthetic


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_synthetic_arrivals_have_their_rate_and_burstiness(burstiness: float) -> None:
    """The squared coefficient of variation of a gamma distribution is 1 over its shape."""
    gaps = np.diff(synthetic(8, burstiness, Lengths("fixed", 5), Lengths("fixed", 7), 20_000, 1).arrivals)
    assert 1 / gaps.mean() == pytest.approx(8)
    assert (gaps.std() / gaps.mean()) ** 2 == pytest.approx(1 / burstiness, rel=0.08)


def test_synthetic_lengths_have_their_distribution() -> None:
    rng = np.random.default_rng(0)
    assert Lengths("fixed", 12.4).draw(3, rng).tolist() == [12, 12, 12]
    uniform = Lengths("uniform", 100, 0.5).draw(20_000, rng)
    assert uniform.min() == 50 and uniform.max() == 150 and uniform.mean() == pytest.approx(100, rel=0.01)
    heavy = Lengths("lognormal", 500, 1.2).draw(50_000, rng)
    assert heavy.mean() == pytest.approx(500, rel=0.03) and heavy.std() == pytest.approx(600, rel=0.08)
    assert Lengths("lognormal", 1, 2).draw(100, rng).min() == 1


def test_synthetic_traffic_follows_its_seed() -> None:
    lengths = Lengths("uniform", 50, 0.9)
    one, same, other = (synthetic(5, 1, lengths, lengths, 50, seed) for seed in (1, 1, 2))
    assert one.arrivals.tolist() == same.arrivals.tolist() != other.arrivals.tolist()
    assert one.input_len.tolist() == same.input_len.tolist() != other.input_len.tolist()
    assert one.arrivals[0] == 0 and (np.diff(one.arrivals) >= 0).all()
    assert synthetic(math.inf, 1, lengths, lengths, 5, 0).arrivals.tolist() == [0] * 5
    assert synthetic(4, math.inf, lengths, lengths, 5, 0).arrivals.tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("make", [
    lambda: Lengths("fixed", 0.5), lambda: Lengths("uniform", 10, 1.5), lambda: Lengths("lognormal", 10, -1),
    lambda: synthetic(0, 1, Lengths("fixed", 1), Lengths("fixed", 1), 5, 0),
    lambda: synthetic(1, 0, Lengths("fixed", 1), Lengths("fixed", 1), 5, 0),
    lambda: synthetic(1, 1, Lengths("fixed", 1), Lengths("fixed", 1), 0, 0),
])
def test_impossible_traffic_is_refused(make: Any) -> None:
    with pytest.raises(StudyError, match="must be"):
        make()


# --------------------------------------------------------------------------------------------------------- for vLLM


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_prompt_is_its_own_unless_the_traffic_shares(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    options = write_timed_trace(even(4, gap=0.25), path, seed=1)
    rows = rows_of(path)
    assert [row["timestamp"] for row in rows] == [0, 250, 500, 750]
    assert [(row["input_length"], row["output_length"]) for row in rows] == [(10, 4), (11, 4), (12, 4), (13, 4)]
    assert len({tuple(row["hash_ids"]) for row in rows}) == 4
    assert options[options.index("--timed-trace-chunk-hash-size") + 1] == "13" and options == timed_trace_options(path)
    write_timed_trace(even(4), tmp_path / "other.jsonl", seed=2)
    numbers = [{block for row in rows_of(tmp_path / name) for block in row["hash_ids"]}
               for name in ("trace.jsonl", "other.jsonl")]
    assert not numbers[0] & numbers[1]


def test_shared_blocks_are_written_as_shared(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    options = write_timed_trace(read_traffic(written(tmp_path, SHARING)), path, seed=4)
    ids = [row["hash_ids"] for row in rows_of(path)]
    assert ids[0][:2] == ids[1] == ids[2][:2] and ids[0][2] not in ids[2]
    assert options[options.index("--timed-trace-chunk-hash-size") + 1] == "512"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for scale in (1.0, 0.3):
        traffic = read_traffic(written(tmp_path, SHARING)).scaled(input_scale=scale)
        write_timed_trace(traffic, tmp_path / "trace.jsonl", seed=0)
        again = read_traffic(tmp_path / "trace.jsonl")
        assert again.arrivals.tolist() == [0, 0.5, 2] and again.block_tokens == traffic.block_tokens
        assert again.input_len.tolist() == traffic.input_len.tolist()
        assert again.blocks == ((0, 1, 2), (0, 1), (0, 1, 3, 4))


def test_the_first_requests_are_the_first() -> None:
    first = even(9, blocks=tuple((row,) for row in range(9)), block_tokens=32).first(4)
    assert first.input_len.tolist() == [10, 11, 12, 13] and first.blocks == ((0,), (1,), (2,), (3,))
    assert len(even(3).first(9)) == 3


SAMPLE = """
import json, sys
from vllm.benchmarks.datasets.datasets import TimedTrace
class Tokenizer:
    all_special_ids = [0]
    def get_vocab(self):
        return {f"w{i}": i for i in range(1000)}
def read(given):
    options = dict(zip(*[iter(given)] * 2))
    trace = TimedTrace(random_seed=0, **{name.lstrip("-").replace("-", "_"): value for name, value in options.items()})
    return [[s.prompt, s.prompt_len, s.expected_output_len, s.timestamp] for s in trace.sample(Tokenizer(), 100)]
print(json.dumps([read(json.loads(given)) for given in sys.argv[1:]]))
"""


def common(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with."""
    return next(i for i, tokens in enumerate(itertools.zip_longest(*prompts)) if len(set(tokens)) > 1)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_reads_it_with_the_options(tmp_path: Path) -> None:
    """vLLM's own reader gives each prompt its length, and the same beginning where blocks are shared."""
    given = [even(3, gap=0.25), read_traffic(written(tmp_path, SHARING))]
    options = [write_timed_trace(traffic, tmp_path / f"{i}.jsonl", seed=1) for i, traffic in enumerate(given)]
    ran = subprocess.run([sys.executable, "-c", SAMPLE, *map(json.dumps, options)], capture_output=True, text=True,
                         check=True, env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"})
    for traffic, samples in zip(given, json.loads(ran.stdout.splitlines()[-1]), strict=True):
        prompts, lengths, outputs, times = map(list, zip(*samples, strict=True))
        assert lengths == [len(prompt) for prompt in prompts] == traffic.input_len.tolist()
        assert outputs == traffic.output_len.tolist() and times == pytest.approx(traffic.arrivals)
        shared = common(prompts)
        assert shared == 1024 if traffic.blocks else shared < 3
