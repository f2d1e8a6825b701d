#!/usr/bin/env bash
# Usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
exec bash "$(dirname "$0")/slurm_run.sh" test.py "$@"
