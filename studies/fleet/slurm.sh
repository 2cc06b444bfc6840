#!/bin/bash
# Eight nodes with eight GPUs each work on one study:   sbatch studies/fleet/slurm.sh
# Every task is `sweepwise run`, once for each node. Tasks may start late, end early, or be preempted: the record knows.
#SBATCH --job-name=sweepwise
#SBATCH --array=0-7
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:INT@300
set -eu
# If sweepwise is in a virtual environment:   source /shared/venv/bin/activate
export PGPASSWORD="${PGPASSWORD:-$(cat "$HOME/.sweepwise-password")}"
cd "${SLURM_SUBMIT_DIR:-$PWD}"
# exec: the signal that Slurm sends five minutes before the end reaches sweepwise, which ends after its runs in hand.
exec sweepwise run studies/fleet/study.yaml --parallel "${SLURM_GPUS_ON_NODE:-8}" --quiet
