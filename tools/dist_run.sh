#!/usr/bin/env bash
# Runs a tool with several processes, one per GPU. dist_train.sh and dist_test.sh call it.
# Usage: bash tools/dist_run.sh TOOL.py GPUS [arguments of the tool]
# Environment: NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500).
set -euo pipefail

TOOL=$1
GPUS=$2
shift 2
PORT=${PORT:-29500}

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

[[ "$GPUS" =~ ^[1-9][0-9]*$ ]] || fail "the number of GPUS must be 1 or more, not '$GPUS';" \
    "options come after it: dist_${TOOL%.py}.sh ... GPUS [options]"
if [[ "${NODE_RANK:-0}" == 0 ]] &&
    ! python -c 'import socket, sys; socket.create_server(("", int(sys.argv[1])))' "$PORT" 2>/dev/null
then
    fail "port $PORT is not free: another run may use it. Give another: PORT=29501 bash ..."
fi

exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$PORT" \
    --nproc_per_node="$GPUS" "$(dirname "$0")/$TOOL" "$@" --launcher pytorch
