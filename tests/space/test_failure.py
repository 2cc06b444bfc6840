"""The kind of a failure, read off real texts: of vLLM 0.32, PyTorch, CUDA, the shell, Slurm, and of tables."""

from __future__ import annotations

import json

import pytest

from planner.space.failure import FailureKind, failure_kind
from planner.space.types import Cost, Measurement, Status

MEMORY, WRONG, START, CRASH, HANG, GONE, OTHER = (
    FailureKind.OUT_OF_MEMORY, FailureKind.CONFIGURATION, FailureKind.START, FailureKind.CRASH, FailureKind.HANG,
    FailureKind.PREEMPTION, FailureKind.OTHER)


@pytest.mark.parametrize(("reason", "kind"), [
    # vLLM 0.32
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
     "the engine (this flag also controls CPU memory reservation on the CPU backend, despite its name).", MEMORY),
    ("ValueError: To serve at least one request with the model's max seq len (8192), (1.0 GiB KV cache is needed, "
     "which is larger than the available KV cache memory (0.25 GiB). Based on the available memory, the estimated "
     "maximum model length is 2048. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`", MEMORY),
    ("ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve a single token.", MEMORY),
    ("RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering "
     "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine.", MEMORY),
    ("ValueError: Free memory on device cuda:0 (12.1/79.2 GiB) on startup is less than desired GPU memory utilization "
     "(0.92, 72.9 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.", START),
    ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).", WRONG),
    ("ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len "
     "(max_position_embeddings=32768 or model_max_length=None in model's config.json).", WRONG),
    ("VLLMValidationError: The decoder prompt (length 4096) is longer than the maximum model length of 2048. ", WRONG),
    ("input_len 2048 + output_len 64 exceeds max_model_len 2049", WRONG),
    ("ValueError: Unknown dtype: 'float7'", WRONG),
    ("1 validation error for ModelConfig Value error, invalid value 'x'", WRONG),
    ("EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.", CRASH),
    ("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}", START),
    ("TimeoutError: RPC call to execute_model timed out.", HANG),
    # PyTorch, CUDA, the kernel
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of", MEMORY),
    ("RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory", MEMORY),
    ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array", MEMORY),
    ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", CRASH),
    ("RuntimeError: CUDA error: invalid device ordinal", WRONG),
    ("RuntimeError: NCCL error: unhandled system error", CRASH),
    ("engine process was ended by signal 9 (Killed; out of memory: the kernel killed a process)", MEMORY),
    ("engine process was ended by signal 9 (Killed, often because memory ran out)", CRASH),
    ("engine process was ended by signal 11 (Segmentation fault)", CRASH),
    # our own words for what a child process did
    ("no answer within 600 s", HANG),
    ("the server did not answer within 600 s; give it more by runner.start_timeout_s", HANG),
    ("its 64 requests did not end within 30 s", HANG),
    ("timed out after 1.5 s: loading", HANG),
    ("did not end within 12 s, far longer than predicted", HANG),
    ("the server ended during the run: torch.OutOfMemoryError: CUDA out of memory", MEMORY),
    ("the server answers no longer: ClientConnectorError: Cannot connect to host 127.0.0.1", CRASH),
    ("killed by SIGTERM", GONE), ("exit status 143: Terminated", GONE),
    ("killed by SIGSEGV: loading", CRASH), ("exit status 134: Aborted (core dumped)", CRASH),
    ("exit status 124", HANG),
    ("exit status 2: bench.py: error: unrecognized arguments: --tokens 5", WRONG),
    ("exit status 1: ValueError: the sample is too small", OTHER),
    # Slurm
    ("slurmstepd: error: *** JOB 17 ON node3 CANCELLED AT 2026-05-01T10:00:00 DUE TO PREEMPTION ***", GONE),
    ("slurmstepd: error: *** JOB 17 ON node3 CANCELLED AT 2026-05-01T10:00:00 DUE TO TIME LIMIT ***", HANG),
    # words of status columns
    ("oom", MEMORY), ("OOM", MEMORY), ("out_of_memory", MEMORY), ("OutOfMemory", MEMORY), ("oom_error", MEMORY),
    ("OOMKilled", MEMORY), ("kv_over", MEMORY), ("cuda_error", CRASH), ("killed", CRASH), ("crash", CRASH),
    ("hang", HANG), ("timeout", HANG), ("TIMED OUT", HANG), ("time_out", HANG), ("preempted", GONE),
    ("node_fail", GONE), ("wrong_config", WRONG), ("configuration", WRONG), ("unsupported", WRONG),
    ("failed", OTHER), ("error", OTHER), ("", OTHER), ("no status", OTHER),
    # words that only look like one
    ("the boom of the room", OTHER), ("bloom-176b failed", OTHER), ("the change was lost", OTHER),
])
def test_the_kind_is_read_off_the_reason(reason: str, kind: FailureKind) -> None:
    assert failure_kind(reason) is kind


def test_what_shows_nothing_is_what_the_runner_was_doing() -> None:
    assert failure_kind("KeyError: 'lost'", START) is START
    assert failure_kind("CUDA out of memory", START) is MEMORY


def test_what_depends_on_the_point_is_not_tried_again() -> None:
    assert {kind for kind in FailureKind if kind.is_transient} == {START, CRASH, HANG, GONE}


def test_a_record_keeps_the_kind_and_one_without_it_still_reads() -> None:
    said = Measurement(Status.FAILED, Cost(1.0), reason="KeyError: 'lost'", failure=CRASH)
    written = json.loads(json.dumps(said.to_json()))
    assert written["failure"] == "crash" and Measurement.from_json(written) == said
    old = Measurement(Status.FAILED, Cost(1.0), reason="CUDA out of memory").to_json()
    assert "failure" not in old
    assert Measurement.from_json(old).failure_kind is MEMORY
    assert Measurement(Status.OK, Cost(1.0), reason="crash").failure_kind is None
