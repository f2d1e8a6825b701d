# Copyright (c) mmvisionmix authors. All rights reserved.
"""What image decoders leave unsaid about a file: that it is empty, cut short, or too deep."""
import os
from typing import Optional, Tuple

import numpy as np
from PIL import Image, UnidentifiedImageError

COMPLETE = ((b'\xff\xd8', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'))
"""First and last bytes of a JPEG and of a PNG file."""
PNG_DEPTH = 24
"""Where a PNG file says how many bits a channel has."""


def read_fault(path: str) -> Optional[str]:
    """Finds out why a file could not be read as an image.

    Args:
        path: The file. One that is not on this machine's disk is passed over.

    Returns:
        What is wrong with it, such as ``'is empty (0 bytes)'``; None if nothing was found.
    """
    if not os.path.isfile(path):
        return None
    if not os.path.getsize(path):
        return 'is empty (0 bytes)'
    try:
        _read_to_the_end(path)
    except UnidentifiedImageError:
        return 'is in no known image format'
    except Exception as error:  # Pillow's decoders raise nearly anything
        return f'is damaged or cut short ({error})'
    return None


def cut_short(path: str, thorough: bool = False) -> Optional[str]:
    """Finds out whether a file ends before its picture does, which OpenCV does not tell.

    OpenCV fills what is missing with grey. A JPEG or PNG file that ends as such files do is taken
    for complete: this costs next to nothing. One that does not is decoded by Pillow, which tells.

    Args:
        path: The file. One that is not on this machine's disk is passed over.
        thorough: Whether to decode every file, whatever its format and its end. Default: False.

    Returns:
        What is wrong with it; None if nothing was found.
    """
    if not os.path.isfile(path) or not (thorough or _ends_early(path)):
        return None
    try:
        _read_to_the_end(path)
    except UnidentifiedImageError:  # OpenCV reads formats that Pillow does not
        return None
    except Exception as error:  # Pillow's decoders raise nearly anything
        return f'is damaged or cut short ({error})'
    return None


def beyond_8_bits(path: str) -> Optional[str]:
    """Finds out whether a label map has values above 255, which mmsegmentation cuts to 8 bits.

    Args:
        path: The label map. Only 16-bit PNG files on this machine's disk are looked into.

    Returns:
        What is wrong with it; None if nothing was found.
    """
    if not os.path.isfile(path):
        return None
    start, _ = _ends(path)
    if not start.startswith(COMPLETE[1][0]) or start[PNG_DEPTH] <= 8:
        return None
    with Image.open(path) as image:
        highest = int(np.asarray(image).max())
    if highest <= 255:
        return None
    return f'has 16 bits a pixel and values up to {highest}; mmsegmentation reads the lower 8 bits'


def _read_to_the_end(path: str) -> None:
    with Image.open(path) as image:
        image.load()


def _ends_early(path: str) -> bool:
    """Whether the last bytes of a JPEG or PNG file are not those of a complete one."""
    start, end = _ends(path)
    return any(start.startswith(first) and not end.endswith(last) for first, last in COMPLETE)


def _ends(path: str) -> Tuple[bytes, bytes]:
    """The first bytes of a file, and its last eight."""
    with open(path, 'rb') as file:
        start = file.read(PNG_DEPTH + 1)
        file.seek(-min(8, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return start, file.read()
