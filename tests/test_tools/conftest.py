# Copyright (c) mmvisionmix authors. All rights reserved.
from collections import OrderedDict

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture
def fresh_scope(monkeypatch):
    """The test starts as a new process does, and leaves no scope to other tests."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
