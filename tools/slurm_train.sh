#!/usr/bin/env bash
# Usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
exec bash "$(dirname "$0")/slurm_run.sh" train.py "$@"
