# Copyright (c) mmvisionmix authors. All rights reserved.
"""The version, kept apart so that setup.py reads it without importing the package."""
__version__ = '0.2.0'
