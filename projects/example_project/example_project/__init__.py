# Copyright (c) mmvisionmix authors. All rights reserved.
"""A project of your own that uses a backbone of mmvisionmix. Rename the folder and the scope."""
