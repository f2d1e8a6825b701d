#!/usr/bin/env bash
# Prepares the environment, checks style and types, runs the tests.
#
#     bash tools/run_tests.sh                          all of them, about 20 minutes on 2 cores
#     bash tools/run_tests.sh tests/test_ops -k fft    what you name, with any option of pytest
#     bash tools/run_tests.sh -m slow                  those that take minutes each
#     bash tools/run_tests.sh --stack modern [...]     with torch 2.11 and numpy 2
#     bash tools/run_tests.sh --stack lite [...]       and with mmcv-lite: unless named, mixers,
#                                                      backbones, checkpoints, training, exports,
#                                                      4 minutes
if [[ "${1:-}" == --stack ]]; then
    export STACK="${2:?--stack takes classic, modern or lite}"
    shift 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$ROOT"

TESTS=(tests)
if [[ "$STACK" == lite ]]; then
    TESTS=(tests/test_ops tests/test_models tests/test_checkpoints.py tests/test_mmcv_lite.py
           tests/test_tools/test_export.py)
fi

names_tests() {
    local argument
    for argument in "$@"; do
        [[ -e "${argument%%::*}" ]] && return
    done
    return 1
}

# Two processes, as most tests use one core; what shares counted networks stays in one of them.
names_tests "$@" || set -- -n "${WORKERS:-2}" --dist loadgroup "${TESTS[@]}" "$@"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

say 'Checking the style: ruff check'
python -m ruff check .
if [[ "$STACK" == classic ]]; then  # one torch, as its types change from release to release
    say 'Checking the types of mixers and backbones: mypy'
    python -m mypy
fi
say "Running the tests: pytest $*"
python -m pytest -q "$@"
