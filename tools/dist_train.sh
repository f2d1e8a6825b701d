#!/usr/bin/env bash
# Trains with several processes, one per GPU; on a CPU where there is none.
# Usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
set -euo pipefail

CONFIG=${1:?"usage: dist_train.sh CONFIG GPUS [options]"}
GPUS=${2:?"usage: dist_train.sh CONFIG GPUS [options]"}
exec bash "$(dirname "$0")/dist_run.sh" train.py "$GPUS" "$CONFIG" "${@:3}"
