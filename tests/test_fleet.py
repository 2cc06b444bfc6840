"""The examples for Slurm and Kubernetes are only `sweepwise run`, many times on one record."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from planner.campaign.setup import open_setup
from planner.cli.app import app

FLEET = Path(__file__).resolve().parents[1] / "studies" / "fleet"


def parsed(words: list[str]) -> dict[str, Any]:
    """The options of a `sweepwise run`, as the command line itself reads them; nothing is run."""
    program, verb, *rest = words
    assert (program, verb) == ("sweepwise", "run")
    command: Any = typer.main.get_command(app)
    return dict(command.commands[verb].make_context(verb, rest).params)


@pytest.fixture(scope="module")
def script() -> str:
    return (FLEET / "slurm.sh").read_text()


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    job = yaml.safe_load((FLEET / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["parallelism"]) == ("batch/v1", "Job", 8)
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_slurm_script_is_one(script: str) -> None:
    checked = subprocess.run(["bash", "-n", FLEET / "slurm.sh"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert script.startswith("#!/bin/bash\n")
    first = next(n for n, line in enumerate(script.splitlines()) if line and not line.startswith("#"))
    assert "#SBATCH" not in "\n".join(script.splitlines()[first:]), "Slurm reads no option below the first command"


def test_the_slurm_script_runs_one_worker_for_each_device_of_its_node(
    script: str, tmp_path: Path
) -> None:
    """With a sweepwise that says its arguments in place of ours."""
    (tmp_path / "sweepwise").write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$PGPASSWORD"\n')
    (tmp_path / "sweepwise").chmod(0o755)
    (tmp_path / ".sweepwise-password").write_text("secret\n")
    ran = subprocess.run(["bash", FLEET / "slurm.sh"], capture_output=True, text=True, check=True, env={
        "PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "SLURM_GPUS_ON_NODE": "8",
        "SLURM_SUBMIT_DIR": str(FLEET.parents[1])})
    *words, password = ran.stdout.splitlines()
    options = parsed(["sweepwise", *words])
    assert options["parallel"] == 8 and password == "secret"
    assert (FLEET.parents[1] / options["study"]).samefile(FLEET / "study.yaml")
    assert "secret" not in " ".join(words)
    gpus = re.search(r"^#SBATCH --gpus-per-node=(\d+)$", script, re.MULTILINE)
    assert gpus and re.search(r"^#SBATCH --signal=B:INT@\d+$", script, re.MULTILINE)


def test_the_kubernetes_job_runs_one_worker_for_each_device_of_its_pod(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    options = parsed(container["command"])
    assert options["parallel"] == container["resources"]["limits"]["nvidia.com/gpu"] == 4
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(options["study"]) == f"{mounted['study']}/study.yaml"
    assert {volume["name"] for volume in pod["volumes"]} == set(mounted)
    (variable,) = container["env"]
    assert variable["name"] == "PGPASSWORD" and "secretKeyRef" in variable["valueFrom"] and "value" not in variable


def test_their_study_is_valid_and_holds_no_password() -> None:
    study = open_setup(FLEET / "study.yaml")
    assert study.storage.startswith("postgresql+psycopg://sweepwise@") and len(study.grid) == 3 * 2 * 3 * 3 * 8
    assert study.accelerators.max() == 4, "the devices of a pod"


def test_each_file_says_how_it_is_started(script: str) -> None:
    said = script + (FLEET / "kubernetes.yaml").read_text()
    for command in ("sbatch studies/fleet/slurm.sh", "kubectl apply -f studies/fleet/kubernetes.yaml"):
        assert shlex.split(command) and command in said
