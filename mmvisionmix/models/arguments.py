# Copyright (c) mmvisionmix authors. All rights reserved.
"""Checks of arguments, with messages that name the valid ones."""
from numbers import Integral, Real
from typing import Any, Sequence


def check_int(least: int = 1, **arguments: Any) -> None:
    """Checks arguments by name: whole numbers, or tuples or lists of them, none below ``least``.

    Raises:
        ValueError: If one is not; names it.
    """
    for name, value in arguments.items():
        values = value if isinstance(value, (tuple, list)) else (value, )
        if not all(is_int(one) and one >= least for one in values):
            raise ValueError(f'{name} must be whole, and at least {least}, got {value!r}')


def check_rate(**arguments: Any) -> None:
    """Checks arguments by name: rates of dropout, from 0 to below 1.

    Raises:
        ValueError: If one is not; names it.
    """
    for name, value in arguments.items():
        if not isinstance(value, Real) or not 0 <= float(value) < 1:
            raise ValueError(f'{name} must be at least 0 and below 1, got {value!r}')


def check_size(**arguments: Any) -> None:
    """Checks arguments by name: one whole number, or height and width, of at least 1.

    Raises:
        ValueError: If one is not; names it.
    """
    check_int(**arguments)
    for name, value in arguments.items():
        if isinstance(value, (tuple, list)) and len(value) != 2:
            raise ValueError(f'{name} must be one number, or height and width, got {value!r}')


def check_heads(embed_dims: int, num_heads: int) -> None:
    """Checks that channels can be split into heads.

    Raises:
        ValueError: If they cannot.
    """
    check_int(embed_dims=embed_dims, num_heads=num_heads)
    if embed_dims % num_heads:
        raise ValueError(f'embed_dims must be a multiple of num_heads, got {embed_dims} and '
                         f'{num_heads}')


def check_choice(choices: Sequence[Any], **arguments: Any) -> None:
    """Checks arguments by name: one of the choices.

    Raises:
        ValueError: If one is not; names it and the choices.
    """
    for name, value in arguments.items():
        if value not in choices:
            raise ValueError(f'{name} must be one of {list(choices)}, got {value!r}')


def is_int(value: Any) -> bool:
    """Whether a value is a whole number, of Python or numpy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)
