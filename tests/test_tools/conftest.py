# Copyright (c) mmvisionmix authors. All rights reserved.
import forked
import pytest


@pytest.fixture(scope='session')
def run_tool():
    """Runs a Python script as a user would, without waiting for imports."""
    return forked.run_tool
