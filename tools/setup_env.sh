#!/usr/bin/env bash
# Prepares the environment in which mmvisionmix is trained and tested.
#
#     bash tools/setup_env.sh                              then: source .venv/bin/activate
#     PYTHON=/path/to/python3.11 bash tools/setup_env.sh   with a Python of your choice
#     STACK=modern bash tools/setup_env.sh                 torch 2.11 and numpy 2, in .venv-modern
#     STACK=lite bash tools/setup_env.sh                   the same on mmcv-lite, without detection:
#                                                          nothing is compiled; in .venv-lite
#
# Other scripts source it, and go on with `python` from that environment. An active environment
# that has all it takes is used as it is; otherwise .venv in the clone is made, or completed. What it
# takes is in NEEDS: the extras that a script uses, all of them unless it says otherwise.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
STACK="${STACK:-classic}"
EXTRAS='cls seg demo docs tests'
case "$STACK" in
    classic)
        VENV="$ROOT/.venv" PINS="$ROOT/requirements/classic.txt" PYTHONS='3.8 to 3.11'
        SUPPORTED='(3, 8) <= sys.version_info[:2] <= (3, 11)'
        CANDIDATES=(python3.11 python3.10 python3.9 python3.8 python3 python)
        HELD='' ;;
    modern|lite)
        VENV="$ROOT/.venv-$STACK" PINS="$ROOT/requirements/modern.txt" PYTHONS='3.10 to 3.12'
        SUPPORTED='(3, 10) <= sys.version_info[:2] <= (3, 12)'
        CANDIDATES=(python3.12 python3.11 python3.10 python3 python)
        HELD=1 ;;  # to its versions, or else an active classic environment would serve
    *)
        printf 'ERROR: there is no stack %s; there are classic, modern and lite\n' "$STACK" >&2
        exit 1 ;;
esac
if [[ "$STACK" != lite ]]; then
    EXTRAS+=' det'
fi
NEEDS="${NEEDS:-$EXTRAS}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$@"; }
fail() { printf '\nERROR: %s\n' "$*" >&2; exit 1; }

# Exit codes as check_env.py's: 0 ready, 1 not suitable, 2 only mmvisionmix is not installed.
# shellcheck disable=SC2086  # lists of words
check() { "$1/bin/python" "$ROOT/tools/check_env.py" --quiet --extras $2 "${@:3}"; }

install_package() {
    "$1/bin/python" -m pip install -q --no-deps --no-build-isolation -e "$ROOT"
}

activate() {
    export VIRTUAL_ENV="$1" PATH="$1/bin:$PATH"
    unset PYTHONHOME
    say "Environment: $1 ($("$1/bin/python" --version))"
}

# ------------------------------------------------------------------ an environment that is active
use_active() {
    local active="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" problems status=0
    [[ -n "$active" && "$active" != "$VENV" && -x "$active/bin/python" ]] || return 1
    problems="$(check "$active" "$NEEDS" ${HELD:+--constraints "$PINS"} 2>&1)" || status=$?
    if [[ $status == 2 ]]; then
        say "The active environment has all dependencies: installing this clone into it."
        install_package "$active" || return 1
    elif [[ $status != 0 ]]; then
        say "The active environment $active does not serve:" '' "$problems" '' "Using $VENV instead."
        return 1
    fi
    activate "$active"
}

# ------------------------------------------------------------------ .venv
use_venv() {
    if ! venv_is_whole || ! check "$VENV" "$EXTRAS" --constraints "$PINS" >/dev/null 2>&1; then
        make_venv
    fi
    activate "$VENV"
}

make_venv() {
    say "Preparing $VENV: 5 to 15 minutes and 6 GB the first time, mostly for PyTorch and mmcv." \
        'It may be interrupted at any time; the next run goes on from there.'
    step 1 'Python environment (10 seconds)'
    create_venv
    step 2 'PyTorch and torchvision (2 GB to download, 1 to 5 minutes)'
    pip_install torch torchvision
    if [[ "$STACK" == lite ]]; then
        step 3 'mmcv-lite, without compiled operators (seconds)'
        pip_install mmcv-lite
    else
        step 3 'mmcv with its operators (seconds if prebuilt or cached, else 5 to 10 minutes)'
        install_requirements build runtime
        "$VENV/bin/python" "$ROOT/tools/install_mmcv.py"
    fi
    step 4 'OpenMMLab codebases, what the tests and the demo need (1 to 2 minutes)'
    # shellcheck disable=SC2086
    install_requirements runtime $EXTRAS
    step 5 'mmvisionmix, as a link to this clone (5 seconds)'
    install_package "$VENV"
    check "$VENV" "$EXTRAS" --constraints "$PINS" || fail "$VENV is not as it should be, see above."
}

step() { say "[$1/5] $2"; }

create_venv() {
    local python
    if [[ -e "$VENV" ]] && ! venv_is_whole; then
        [[ -e "$VENV/log" ]] || fail "$VENV was not made by this script: please move it away."
        say '      making it anew: the last run was interrupted, or used another Python'
        rm -rf "$VENV"
    fi
    if [[ ! -e "$VENV" ]]; then
        python="$(find_python)"
        mkdir -p "$VENV/log"
        touch "$VENV/log/unfinished"
        "$python" -m venv "$VENV"
    fi
    pip_install pip setuptools wheel
}

# A killed pip leaves half a package that the next pip takes for a whole one, hence the mark: while
# it is there, .venv is made anew. pip keeps its downloads and install_mmcv.py keeps its wheel.
pip_install() {
    touch "$VENV/log/unfinished"
    "$VENV/bin/python" "$ROOT/tools/quiet_run.py" "$VENV/log/pip.log" \
        "$VENV/bin/python" -m pip install -c "$PINS" "$@"
    rm "$VENV/log/unfinished"
}

install_requirements() {
    local name files=()
    for name in "$@"; do
        files+=(-r "$ROOT/requirements/$name.txt")
    done
    pip_install "${files[@]}"
}

# Whether .venv was completely installed, by a Python that serves and is the one asked for.
venv_is_whole() {
    suits "$VENV/bin/python" && [[ ! -e "$VENV/log/unfinished" ]] || return 1
    [[ -z "${PYTHON:-}" || "$(version "$PYTHON")" == "$(version "$VENV/bin/python")" ]]
}

# ------------------------------------------------------------------ a suitable Python
find_python() {
    local candidate found='' candidates=("${CANDIDATES[@]}")
    if [[ -n "${PYTHON:-}" ]]; then
        candidates=("$PYTHON")
    fi
    for candidate in "${candidates[@]}"; do
        if suits "$candidate"; then
            command -v "$candidate"
            return
        fi
        found+="$(describe "$candidate")"
    done
    fail "Python $PYTHONS with its venv module is needed. Found: ${found:-none}
Choose one with: PYTHON=/path/to/python3.11 bash $0"
}

suits() { "$1" -c "import sys, ensurepip, venv; sys.exit(not $SUPPORTED)" 2>/dev/null; }

version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

describe() {
    local number
    number="$(version "$1")" || return 0
    printf '\n  %s: %s' "$(command -v "$1")" "$number"
    if "$1" -c "import sys; sys.exit(not $SUPPORTED)"; then
        printf ', without venv (Debian and Ubuntu: apt install python3-venv)'
    fi
}

# ------------------------------------------------------------------
use_active || use_venv
if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
    say 'Ready.'
    if [[ "$VIRTUAL_ENV" == "$VENV" ]]; then
        say "Activate it with: source $VENV/bin/activate"
    fi
fi
