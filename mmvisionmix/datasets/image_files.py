# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is wrong with an image file."""
import os
from typing import Optional

from PIL import Image, UnidentifiedImageError


def read_fault(path: str) -> Optional[str]:
    """Decodes an image to its end, which OpenCV does not always ask for.

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
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        return 'is in no known image format'
    except Exception as error:  # Pillow's decoders raise nearly anything
        return f'is damaged or cut short ({error})'
    return None
