"""NVIDIA's management library, if this machine has it (package nvidia-ml-py)."""

from __future__ import annotations

import functools
import os
from typing import Any

__all__ = ["load_nvml", "visible_devices"]


@functools.cache
def load_nvml() -> Any | None:
    """NVML, ready for use until this process ends; None without its package, its driver or a device."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def visible_devices(nvml: Any) -> list[Any]:
    """NVML's handles of the devices that CUDA would show, in its order.

    Numbers are those of NVML, by bus address. CUDA has the same ones in machines with equal devices, and in all others
    with CUDA_DEVICE_ORDER=PCI_BUS_ID, as vLLM asks of its users. Like CUDA, this stops at the first entry that names no
    device.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    wish = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wish is None:
        return handles
    names = [str(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    chosen = []
    for entry in (part.strip() for part in wish.split(",")):
        found = ([handles[int(entry)]] if entry.isdecimal() and int(entry) < len(handles) else
                 [handle for name, handle in zip(names, handles, strict=True) if entry and name.startswith(entry)])
        if len(found) != 1:
            break
        chosen += found
    return chosen
