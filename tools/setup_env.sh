#!/usr/bin/env bash
# Prepares the environment in which mmvisionmix is trained and tested.
#
#     bash tools/setup_env.sh                              then: source .venv/bin/activate
#     PYTHON=/path/to/python3.12 bash tools/setup_env.sh   with a Python of your choice
#     STACK=lite bash tools/setup_env.sh                   without detection: nothing is compiled
#     STACK=onedl bash tools/setup_env.sh                  the maintained forks; in .venv-onedl
#     STACK=classic bash tools/setup_env.sh                torch 2.1 and numpy 1; in .venv-classic
#
# Other scripts source it, and go on with `python` from that environment. An active environment that
# has all it takes is used as it is; otherwise one in the clone is made, or completed. What it takes
# is in NEEDS: the extras that a script uses, all of them unless it says otherwise.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ASKED="${STACK:-}"
NEEDS="${NEEDS:-cls seg det demo docs tests}"
WANTED="$NEEDS"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$@"; }
fail() { printf '\nERROR: %s\n' "$*" >&2; exit 1; }
needs() { grep -qwE "$1" <<<"$NEEDS"; }

# Sets what belongs to a stack: its folder, its versions, the Pythons that serve, what it takes.
settle() {
    local word
    STACK="$1" NEEDS="$WANTED"
    case "$STACK" in
        modern) VENV="$ROOT/.venv" PINS=modern SERVES='3.12 3.11 3.10' ;;
        lite) VENV="$ROOT/.venv" PINS=modern SERVES='3.12 3.11 3.10' NEEDS="${NEEDS/det/}" ;;
        onedl)
            VENV="$ROOT/.venv-onedl" PINS=onedl SERVES='3.12 3.11 3.10' NEEDS=forks
            for word in $WANTED; do
                case $word in cls | seg | det | forks) ;; *) NEEDS+=" $word" ;; esac
            done ;;
        classic) VENV="$ROOT/.venv-classic" PINS=classic SERVES='3.11 3.10 3.9 3.8' ;;
        *) fail "there is no stack $STACK; there are modern, lite, onedl and classic" ;;
    esac
    if [[ $PINS == modern ]] && ! needs det; then
        SERVES+=' 3.13'  # mmcv 2.1.0 does not build there; mmcv-lite has nothing to build
    fi
    PINS="$ROOT/requirements/$PINS.txt"
}

# Exit codes as check_env.py's: 0 ready, 1 not suitable, 2 only mmvisionmix is not installed.
# shellcheck disable=SC2086  # a list of words
check() { "$1/bin/python" "$ROOT/tools/check_env.py" --quiet --extras $NEEDS "${@:2}"; }

install_package() { "$1/bin/python" -m pip install -q --no-deps --no-build-isolation -e "$ROOT"; }

activate() {
    export VIRTUAL_ENV="$1" PATH="$1/bin:$PATH"
    unset PYTHONHOME
    say "Environment: $1 ($(python --version))"
}

# ------------------------------------------------------------------ an environment that is active
use_active() {
    local active="${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" problems status=0
    settle "${ASKED:-modern}"
    [[ -n "$active" && "$active" != "$VENV" && -x "$active/bin/python" ]] || return 1
    problems="$(check "$active" ${ASKED:+--constraints "$PINS"} 2>&1)" || status=$?
    if [[ $status == 2 ]]; then
        say 'The active environment has all dependencies: installing this clone into it.'
        install_package "$active" || return 1
    elif [[ $status != 0 ]]; then
        say "The active environment $active does not serve:" '' "$problems" ''
        return 1
    fi
    activate "$active"
}

# ------------------------------------------------------------------ one in the clone
use_venv() {
    local stack python=''
    for stack in ${ASKED:-modern lite classic}; do
        settle "$stack"
        if venv_is_whole || python="$(find_python)"; then break; fi
    done
    venv_is_whole || [[ -n "$python" ]] ||
        fail "none of the Pythons here serves ($(list_pythons | paste -sd ' ' -)): install Python 3.12" \
             "with venv (Debian, Ubuntu: apt install python3.12-venv), or name one:" \
             "PYTHON=/path/to/python3.12 bash $0"
    case "${ASKED:-$STACK}" in
        lite) say 'Without detection; for that, install Python 3.10 to 3.12: mmcv fails to build on 3.13.' ;;
        classic) say 'With torch 2.1; for a later one, install Python 3.10 to 3.13.' ;;
    esac
    if ! venv_is_whole || ! check "$VENV" --constraints "$PINS" >/dev/null 2>&1; then
        make_venv "$python"
    fi
    activate "$VENV"
}

make_venv() {
    local packages=(torch torchvision) name
    say "Preparing $VENV (6 GB). If it is interrupted, the next run goes on from there."
    [[ ! -e "$VENV" || -e "$VENV/log" ]] ||
        fail "$VENV was not made by this script: please move it away."
    if [[ -e "$VENV" ]] && ! venv_is_whole; then
        rm -rf "$VENV"
    fi
    if [[ ! -e "$VENV" ]]; then
        "$1" -m venv "$VENV"
        mkdir "$VENV/log"
    fi
    pip_install pip setuptools wheel
    if needs 'det|forks'; then
        say '[1/3] PyTorch (2 GB to download, 1 to 5 minutes)'
        pip_install torch torchvision -r "$ROOT/requirements/build.txt"
        say '[2/3] mmcv with its operators (seconds if built before, else 5 to 10 minutes)'
        quietly "$VENV/bin/python" "$ROOT/tools/install_mmcv.py" "$PINS"
    else
        "$VENV/bin/python" -m pip show -q mmcv 2>/dev/null || packages+=(mmcv-lite)
    fi
    needs forks || packages+=(mmengine)
    if needs tests; then
        packages+=("$(needs forks && echo onedl-mim || echo openmim)")
    fi
    say '[3/3] All the rest (1 to 5 minutes)'
    for name in runtime $NEEDS; do
        packages+=(-r "$ROOT/requirements/$name.txt")
    done
    pip_install "${packages[@]}"
    install_package "$VENV"
    check "$VENV" --constraints "$PINS" || fail "$VENV is not as it should be, see above."
}

# A killed pip leaves half a package that the next pip takes for a whole one, hence the mark: while
# it is there, the environment is made anew. pip keeps its downloads, install_mmcv.py its wheel.
pip_install() {
    touch "$VENV/log/unfinished"
    quietly "$VENV/bin/python" -m pip install -c "$PINS" "$@"
    rm "$VENV/log/unfinished"
}

# Runs a command; shows its last line every half minute, and the end of its log if it fails.
quietly() {
    local log="$VENV/log/install.log" start=$SECONDS pid
    "$@" >"$log" 2>&1 &
    pid=$!
    trap 'kill "$pid"; fail "interrupted"' INT TERM
    while sleep 1; kill -0 "$pid" 2>/dev/null; do
        if (((SECONDS - start) % 30 == 29)); then
            say "      $((SECONDS - start)) s: $(tail -n 1 "$log" | cut -c -80)"
        fi
    done
    trap - INT TERM
    wait "$pid" || { tail -n 15 "$log" >&2; fail "$* (its log: $log)"; }
}

# ------------------------------------------------------------------ Pythons
# Whether the environment is completely installed, by a Python that serves and is the one asked for.
venv_is_whole() {
    suits "$VENV/bin/python" && [[ ! -e "$VENV/log/unfinished" ]] || return 1
    [[ -z "${PYTHON:-}" || "$("$PYTHON" --version)" == "$("$VENV/bin/python" --version)" ]]
}

# Prints the first Python that serves; all of a name are tried, as those of version managers may fail.
find_python() {
    local path
    while IFS= read -r path; do
        if suits "$path"; then
            printf '%s' "$path"
            return
        fi
    done < <(list_pythons)
    return 1
}

# shellcheck disable=SC2046,SC2086  # lists of words
list_pythons() {
    if [[ -n "${PYTHON:-}" ]]; then
        type -P "$PYTHON" || true
    else
        type -aP $(printf 'python%s ' $SERVES) python3 python || true
    fi
}

suits() {
    "$1" -c "import sys, ensurepip, venv
sys.exit('{}.{}'.format(*sys.version_info) not in '$SERVES'.split())" 2>/dev/null
}

# ------------------------------------------------------------------
use_active || use_venv
if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
    say 'Ready.'
    if [[ "$VIRTUAL_ENV" == "$VENV" ]]; then
        say "Activate it with: source '$VENV/bin/activate'"
    fi
fi
