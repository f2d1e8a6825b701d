# Copyright (c) mmvisionmix authors. All rights reserved.
"""README.md and docs/first_steps.md, word by word, as somebody follows them in a fresh clone."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def script_of(path):
    """What a reader of a page does: writes the files that it names, and runs its commands."""
    text = (ROOT / path).read_text(encoding='utf-8').partition('\n## Train on ')[0]
    script = ''
    for language, block in re.findall(r'^```(bash|python)\n(.*?)^```', text, re.S | re.M):
        if language == 'bash':
            script += block
        elif block.startswith('# ') and block.split()[1].endswith('.py'):
            script += f"cat > {block.split()[1]} <<'END'\n{block}END\n"
    return script


@pytest.mark.slow
def test_pages_are_followed_in_a_fresh_clone(tmp_path):
    """But for the tests, which run already."""
    script = script_of('README.md') + script_of('docs/first_steps.md')
    script = re.sub(r'^bash tools/run_tests.sh.*\n', '', script, flags=re.M)
    clone = tmp_path / 'clone'
    subprocess.run(['git', 'clone', '--quiet', str(ROOT), str(clone)], check=True)
    paths = os.environ['PATH'].split(os.pathsep)
    own = {str(Path(sys.prefix) / 'bin'), str(Path(sys.executable).parent)}
    environment = {name: value for name, value in os.environ.items()
                   if name not in ('VIRTUAL_ENV', 'PYTHONPATH', 'STACK')}
    environment['PATH'] = os.pathsep.join(path for path in paths if path not in own)
    result = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', script], cwd=clone, env=environment, timeout=3600,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    written = re.findall(r'--out (\S+)', script) + ['work_dirs/quickstart/predictions.png']
    assert len(written) > 2 and all((clone / path).stat().st_size for path in written)
