# Copyright (c) mmvisionmix authors. All rights reserved.
"""Installs mmvisionmix, with setuptools and the standard library only: pip builds without torch."""
import re
from pathlib import Path
from typing import Dict, List

from setuptools import find_packages, setup

try:
    from setuptools.command.editable_wheel import editable_wheel
except ImportError:  # setuptools < 64: `pip install -e .` runs `setup.py develop`
    editable_wheel = None

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / 'mmvisionmix'


def read_version() -> str:
    """Reads the version without importing the package, which needs torch."""
    source = (PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '([^']+)'", source).group(1)


def read_readme() -> str:
    """Reads the long description, the README."""
    return (ROOT / 'README.md').read_text(encoding='utf-8')


def read_requirements(*names: str) -> List[str]:
    """Reads requirements/<name>.txt for each name, without comments and blank lines."""
    files = [ROOT / 'requirements' / f'{name}.txt' for name in names]
    lines = [line for file in files for line in file.read_text(encoding='utf-8').splitlines()]
    stripped = (line.partition('#')[0].strip() for line in lines)
    return [line for line in stripped if line]


def commands() -> Dict[str, type]:
    """Returns the setuptools commands that differ from the stock ones."""
    if editable_wheel is None:
        return {}

    class EditableWheel(editable_wheel):
        """Lets MMEngine and mim find `.mim` after an editable install (PEP 660).

        Both look for a package in <site-packages>/<first line of top_level.txt>, where an editable
        install puts nothing. An absolute first line leads them to the clone: the join of a folder
        and an absolute path is that path. It lives in .dist-info, so `pip uninstall` removes it.
        """

        def run(self) -> None:
            self._ensure_dist_info()
            top_level = Path(self.dist_info_dir, 'top_level.txt')
            top_level.write_text(f'{PACKAGE}\n{PACKAGE.name}\n', encoding='utf-8')
            super().run()

    return {'editable_wheel': EditableWheel}


setup(
    name='mmvisionmix',
    version=read_version(),
    description='Attention-free and linear-attention vision backbones for OpenMMLab',
    author='mmvisionmix authors',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='computer vision, semantic segmentation, object detection, image classification',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmvisionmix', 'mmvisionmix.*']),
    include_package_data=True,
    zip_safe=False,
    python_requires='>=3.8',
    install_requires=read_requirements('runtime'),
    extras_require={
        'cls': read_requirements('cls'),
        'seg': read_requirements('seg'),
        'det': read_requirements('det'),
        'all': read_requirements('cls', 'seg', 'det'),
        'mim': read_requirements('mminstall'),
        'forks': read_requirements('forks'),
        'pose': read_requirements('pose'),
        'demo': read_requirements('demo'),
        'docs': read_requirements('docs'),
        'tests': read_requirements('tests', 'docs'),
    },
    cmdclass=commands(),
)
