#!/usr/bin/env bash
# Runs a tool with several processes, one per GPU. dist_train.sh and dist_test.sh call it.
# Usage: bash tools/dist_run.sh TOOL.py GPUS [arguments of the tool]
# Environment: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500).
set -euo pipefail

TOOL=$1
GPUS=$2
shift 2

exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" "$(dirname "$0")/$TOOL" "$@" --launcher pytorch
