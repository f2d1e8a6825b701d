#!/usr/bin/env bash
# Prepares the environment, checks style and types, runs the tests.
#
#     bash tools/run_tests.sh                          all of them, and the coverage of the package
#     bash tools/run_tests.sh tests/test_ops -k conv   what you name, with any option of pytest
#     bash tools/run_tests.sh -m slow                  those that take minutes each
#     bash tools/run_tests.sh --stack onedl [...]      with the maintained forks; unless named, a core
#     bash tools/run_tests.sh --stack lite [...]       without detection; unless named, a core
#     bash tools/run_tests.sh --stack classic [...]    with torch 2.1 and numpy 1
if [[ "${1:-}" == --stack ]]; then
    export STACK="${2:?--stack takes modern, lite, onedl or classic}"
    shift 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$ROOT"

CORE=(tests/test_ops tests/test_models tests/test_init.py tests/test_checkpoints.py)
case "$STACK" in
    lite) TESTS=("${CORE[@]}" tests/test_mmcv_lite.py tests/test_tools/test_export.py) ;;
    onedl) TESTS=("${CORE[@]}" tests/test_engine projects/example_project
                  tests/test_tools/test_{entry_recipes,stock_tools,train_and_test,apis,mim}.py) ;;
    *) TESTS=(tests projects) ;;
esac

names_tests() {
    local argument before=''
    for argument in "$@"; do
        [[ "$before" != -[km] && -e "${argument%%::*}" ]] && return
        before="$argument"
    done
    return 1
}

if ! names_tests "$@"; then
    if [[ $# == 0 && "$STACK" == modern ]]; then
        set -- --cov --cov-report=term:skip-covered --cov-fail-under=95
    fi
    # Two processes, as most tests use one core; what shares counted networks stays in one of them.
    set -- -n "${WORKERS:-2}" --dist loadgroup "${TESTS[@]}" "$@"
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

if [[ "$STACK" == modern ]]; then  # one ruff and one torch, as their rules and types change
    say 'Checking the style: ruff check'
    python -m ruff check .
    say 'Checking the types of mixers and backbones: mypy'
    python -m mypy
fi
say "Running the tests: pytest $*"
python -m pytest -q "$@"
