#!/usr/bin/env bash
# Evaluates with several processes, one per GPU; on a CPU where there is none.
# Usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
set -euo pipefail

CONFIG=${1:?"usage: dist_test.sh CONFIG CHECKPOINT GPUS [options]"}
CHECKPOINT=${2:?"usage: dist_test.sh CONFIG CHECKPOINT GPUS [options]"}
GPUS=${3:?"usage: dist_test.sh CONFIG CHECKPOINT GPUS [options]"}
exec bash "$(dirname "$0")/dist_run.sh" test.py "$GPUS" "$CONFIG" "$CHECKPOINT" "${@:4}"
