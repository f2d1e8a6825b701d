# Copyright (c) mmvisionmix authors. All rights reserved.
"""A folder that holds generated files and nothing else.

A manifest in the folder names every file before it is written. Whatever else lies there belongs
to someone, and the folder is refused. The order of steps is such that, wherever a run is cut
short, the next one recognises all that is left and does the work again:

1. the manifest names the old and the new files, and says that the folder is incomplete;
2. files that are no longer wanted are removed, and the new ones are written;
3. the manifest names the new files alone, and says that the folder is complete.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, Iterable, Iterator, List, Set, Union

MANIFEST = 'demo_data.json'
DRAFT = MANIFEST + '.part'
MADE_BY = 'mmvisionmix demo data'
"""Tells a manifest from any other JSON file."""


@dataclass(frozen=True)
class Manifest:
    """What a folder holds.

    Attributes:
        parameters: What the files were made from; plain JSON values.
        files: Paths relative to the folder, with forward slashes.
        complete: Whether all of them were written to the end.
    """
    parameters: Dict[str, Any] = field(default_factory=dict)
    files: List[str] = field(default_factory=list)
    complete: bool = False

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Reads a manifest; a missing one is an empty one.

        Raises:
            FileExistsError: If the file is something else, or names files outside its folder.
        """
        if not path.exists():
            return cls()
        try:
            values = json.loads(path.read_text(encoding='utf-8'))
            ours = values.pop('made_by') == MADE_BY and all(map(_is_inside, values['files']))
        except (AttributeError, KeyError, TypeError, ValueError):
            ours = False
        if not ours:
            raise FileExistsError(f'{path} is not a manifest of demo data. Choose another folder.')
        return cls(**values)

    def save(self, path: Path) -> None:
        """Writes the manifest in one step: a reader finds the old one or the new one."""
        draft = path.with_name(DRAFT)
        values = dict(made_by=MADE_BY, **asdict(self))
        draft.write_text(json.dumps(values, indent=1) + '\n', encoding='utf-8')
        os.replace(draft, path)


def _is_inside(name: str) -> bool:
    """Whether a relative path cannot lead out of the folder it starts from."""
    path = PurePosixPath(name)
    return not path.is_absolute() and '..' not in path.parts


class OwnedFolder:
    """Writes generated files into a folder, and refuses one that holds anything else.

    Args:
        root: The folder; it is made when the writing begins.

    Raises:
        FileExistsError: If the folder's manifest is not ours.
        NotADirectoryError: If ``root`` is a file.
    """

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(f'{root} is a file. Choose a folder.')
        self.root = root
        self.manifest = Manifest.load(root / MANIFEST)

    def holds(self, parameters: Dict[str, Any]) -> bool:
        """Whether the folder is complete, made from these parameters, and no file is missing."""
        return (self.manifest.complete and self.manifest.parameters == parameters
                and all((self.root / name).is_file() for name in self.manifest.files))

    @contextmanager
    def rewriting(self, parameters: Dict[str, Any], files: Iterable[str]) -> Iterator[Path]:
        """Prepares the folder for new files and, if the body succeeds, declares it complete.

        Args:
            parameters: What the files are made from.
            files: Every file that the body is going to write, relative to the folder.

        Yields:
            The folder, with all subfolders that the files need.

        Raises:
            FileExistsError: If the folder holds anything it did not make; nothing was changed.
        """
        self._refuse_strangers()
        new, old = list(files), set(self.manifest.files)
        self.root.mkdir(parents=True, exist_ok=True)
        self._save(Manifest(parameters, sorted(old.union(new))))
        for name in sorted(old.difference(new)):
            self._remove(name)
        for name in new:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        yield self.root
        self._save(Manifest(parameters, new, complete=True))

    def _save(self, manifest: Manifest) -> None:
        manifest.save(self.root / MANIFEST)
        self.manifest = manifest

    def _refuse_strangers(self) -> None:
        strangers = list(islice(self._strangers(), 3))
        if strangers:
            raise FileExistsError(
                f'{self.root} holds what was not made here, such as {", ".join(strangers)}. '
                f'It was left as it is. Choose an empty or a new folder.')

    def _strangers(self) -> Iterator[str]:
        """Whatever lies in the folder and is neither a file of the manifest nor on its way."""
        files = {MANIFEST, DRAFT, *self.manifest.files}
        folders = _parents(files)
        for path in self.root.rglob('*'):
            name = path.relative_to(self.root).as_posix()
            known = folders if path.is_dir() else files
            if path.is_symlink() or name not in known:
                yield name

    def _remove(self, name: str) -> None:
        """Removes a file, and the subfolders that it leaves empty."""
        path = self.root / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root or (folder.is_dir() and any(folder.iterdir())):
                return
            if folder.is_dir():
                folder.rmdir()


def write_once(root: Union[str, Path],
               parameters: Dict[str, Any],
               draw: Callable[[], Dict[str, bytes]]) -> bool:
    """Fills a folder with generated files, unless it holds just these already.

    Args:
        root: The folder. It may be new, empty, or one that was written here before.
        parameters: What the files are made from; plain JSON values.
        draw: Makes the files: {path relative to the folder: contents}. It is called before
            anything is touched, and only if something has to be written.

    Returns:
        Whether anything was written.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``root`` is a file.
    """
    folder = OwnedFolder(Path(root))
    if folder.holds(parameters):
        return False
    files = draw()
    with folder.rewriting(parameters, files) as place:
        for name, contents in files.items():
            (place / name).write_bytes(contents)
    return True


def _parents(names: Iterable[str]) -> Set[str]:
    """All folders above the given relative paths."""
    return {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
