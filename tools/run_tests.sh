#!/usr/bin/env bash
# Prepares the environment, checks the style, runs the tests.
#
#     bash tools/run_tests.sh                          all of them, about 15 minutes on 2 cores
#     bash tools/run_tests.sh tests/test_ops -k fft    what you name, with any option of pytest
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$ROOT"

names_tests() {
    local argument
    for argument in "$@"; do
        [[ -e "${argument%%::*}" ]] && return
    done
    return 1
}

names_tests "$@" || set -- tests "$@"

say 'Checking the style: ruff check'
python -m ruff check .
say "Running the tests: pytest $*"
python -m pytest -q "$@"
