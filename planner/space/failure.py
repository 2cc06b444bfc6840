"""Why a run failed: a few kinds, read off its reason by one rule for all runners and for records without a kind."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

__all__ = ["TRIES", "FailureKind", "failure_kind"]

TRIES: Final = 2
"""Runs that may end at a point for a transient reason before it counts as failed. By calculation: where 3 % of all runs
crash by chance, two tries lose one point in 1,000; a third would lose fewer, but a point that always crashes would cost
half as much again."""


class FailureKind(StrEnum):
    """Why a run failed. CONFIGURATION: a wrong one; the engine or the benchmark refuses it. START: the engine did not
    start, for another reason. HANG: no answer in time. PREEMPTION: ended from outside, such as by a scheduler."""

    OUT_OF_MEMORY = "out_of_memory"
    CONFIGURATION = "configuration"
    START = "start"
    CRASH = "crash"
    HANG = "hang"
    PREEMPTION = "preemption"
    OTHER = "other"

    @property
    def is_transient(self) -> bool:
        """Whether the same run may succeed if it is made again. OTHER is nothing known: it is not tried again."""
        return self in _TRANSIENT

    @property
    def words(self) -> str:
        """As people read it: "out of memory"."""
        return self.value.replace("_", " ")


_TRANSIENT: Final = frozenset({FailureKind.START, FailureKind.CRASH, FailureKind.HANG, FailureKind.PREEMPTION})

# The first that is found decides: "the server ended during the run: CUDA out of memory" is about memory. Texts are
# those of vLLM 0.32, PyTorch, CUDA, Python, the shell, Slurm and Kubernetes, and words of tables' status columns.
_SIGNS: Final = tuple((kind, re.compile(signs, re.IGNORECASE)) for kind, signs in (
    # vLLM: other processes hold the memory that this one was to have; that may be over in a minute.
    (FailureKind.START, r"memory used by other processes"),
    (FailureKind.OUT_OF_MEMORY,
     r"out[\s_-]*of[\s_-]*(\w+[\s_-])?memory|(?<![a-z])oom(?![a-z])|oom[\s_-]?kill"
     r"|no available memory for the cache|larger than the available kv cache|kv[\s_-]*(cache)?[\s_-]*(over|exceed|full)"
     r"|(not enough|insufficient) (\w+ )?memory|(cannot|can't|failed to|unable to) allocate|bad_alloc|MemoryError"
     r"|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED"),
    (FailureKind.CONFIGURATION,
     r"(wrong|bad|invalid)[\s_-]*config|^\W*config(uration)?([\s_-]error)?\W*$|divisible by|max_model_len"
     r"|maximum model length|max(imum)? context|not (yet )?supported|unsupported"
     r"|NotImplementedError|ValidationError|(unrecognized|unknown|invalid|unexpected) (keyword )?(argument|option|"
     r"dtype|choice|value|device|model|key)s?\b(?<!cuda error: invalid argument)|no such (option|file)"
     r"|does not exist|(Module|File)NotFound|ImportError|requires? .* (gpus?|devices?|cores?)"
     r"|larger than the number of available gpus|not on the axis|not in the grid|out of resources?: shared memory"),
    (FailureKind.HANG, r"tim(ed?|ing)[\s_-]*out|no answer within|not (answer|end|begin to send) within|\bh[au]ngs?\b"
                       r"|deadline exceeded|due to time limit|\bstalled\b|exit status 124\b"),
    (FailureKind.PREEMPTION, r"preempt|SIGTERM|signal 15\b|exit status 143\b|\bevict(ed|ion)\b|node[\s_-]?fail"
                             r"|spot instance|instance .*reclaimed"),
    (FailureKind.START, r"initiali[sz]ation failed|(failed|unable) to start|(not|cannot) (be )?start(ed)?\b"
                        r"|address already in use|\bstart[\s_-]failure|engine[\s_-]start"),
    (FailureKind.CRASH,
     r"crash|signal \d+|\bSIG[A-Z]{3,}|\bkilled\b|segmentation fault|core dumped|bus error|\babort(ed)?\b"
     r"|illegal (memory access|instruction)|(cuda|hip|nccl|cublas|cudnn)[\s_]error|device-side assert|EngineDead"
     r"|EngineCore encountered|worker.* died|died unexpectedly|broken pipe|connection (refused|reset|aborted|error)"
     r"|connect call failed|server disconnected|the server (ended|answers no longer)|exit status 1(3[4-9])\b"
     r"|uncorrectable ecc|\bxid\b"),
))


def failure_kind(reason: str, otherwise: FailureKind = FailureKind.OTHER) -> FailureKind:
    """The kind of a failed run with this reason. otherwise: where the reason has no sign of any."""
    return next((kind for kind, signs in _SIGNS if signs.search(reason)), otherwise)
