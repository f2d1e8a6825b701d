# Copyright (c) mmvisionmix authors. All rights reserved.
"""Runs a long command with one live progress line; its output goes to a log file.

    python tools/quiet_run.py LOG COMMAND [ARGUMENT ...]

On a terminal the line is redrawn every second; elsewhere a line is written every 30 seconds, so
that logs of automated runs stay short. A failure shows the end of the log and names the file.
It needs the standard library only, since it runs before anything is installed.
"""
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Mapping, Optional, Sequence

TAIL_BYTES = 64 * 1024  # a compiler's command line may be some kilobytes long
TAIL_LINES = 15
NINJA_COUNT = re.compile(r'^\s*\[(\d+/\d+)\] ', re.MULTILINE)


def quiet_run(command: Sequence[str], log: Path, env: Optional[Mapping[str, str]] = None) -> None:
    """Runs a command, showing its progress.

    Args:
        command: The command and its arguments.
        log: File that takes its output.
        env: Its environment variables. Defaults to ours.

    Raises:
        SystemExit: If the command fails, after showing the end of the log.
    """
    start = time.monotonic()
    interval = 1 if sys.stdout.isatty() else 30
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        try:
            while not _has_ended(process, interval):
                _show(f'{_elapsed(start)}  {progress(tail(log))}')
        except KeyboardInterrupt:
            process.terminate()
            raise SystemExit('\nInterrupted; the next run goes on from here.') from None
    if process.returncode:
        lines = '\n'.join(tail(log).splitlines()[-TAIL_LINES:])
        raise SystemExit(f'{lines}\nFailed: {" ".join(command)}\nThe whole log: {log}')
    _show(f'done in {_elapsed(start)}', last=True)


def tail(log: Path) -> str:
    """Reads the end of a log file."""
    with log.open('rb') as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors='replace')


def progress(text: str) -> str:
    """Says how far a command is: ninja's count of compiled files, else its last line."""
    counts = NINJA_COUNT.findall(text)
    if counts:
        return f'{counts[-1]} files compiled'
    lines = text.split('\n')
    return next((line.strip() for line in reversed(lines) if line.strip()), '')


def _has_ended(process: subprocess.Popen, seconds: float) -> bool:
    """Waits for a process for at most that long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _elapsed(start: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - start), 60)
    return f'{minutes}:{seconds:02}'


def _show(text: str, last: bool = False) -> None:
    """Writes the progress line, over the previous one where that is possible."""
    width = shutil.get_terminal_size().columns
    line = f'      {text}'[:width - 1]
    if sys.stdout.isatty():
        sys.stdout.write(f'\r\033[K{line}' + ('\n' if last else ''))
    else:
        sys.stdout.write(f'{line}\n')
    sys.stdout.flush()


if __name__ == '__main__':
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    quiet_run(sys.argv[2:], Path(sys.argv[1]))
