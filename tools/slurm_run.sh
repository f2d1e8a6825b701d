#!/usr/bin/env bash
# Runs a tool under Slurm, one task per GPU. slurm_train.sh and slurm_test.sh call it.
# Usage: bash tools/slurm_run.sh TOOL.py PARTITION JOB_NAME [arguments of the tool]
# Environment: GPUS (8), GPUS_PER_NODE (8, or GPUS if fewer), CPUS_PER_TASK (5), SRUN_ARGS (more
# words for srun, such as '--exclusive --time=8:00:00'), MASTER_PORT (29500).
set -euo pipefail

TOOL=$1
PARTITION=${2:?"usage: slurm_${TOOL%.py}.sh PARTITION JOB_NAME CONFIG [arguments]"}
JOB_NAME=${3:?"usage: slurm_${TOOL%.py}.sh PARTITION JOB_NAME CONFIG [arguments]"}
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}

# SRUN_ARGS is a list of words, so it stays unquoted.
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" \
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --gres="gpu:$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/$TOOL" "${@:4}" --launcher slurm
