# mmpretrain's runtime, with the best and the last checkpoint kept. MMEngine marks what is inherited
# from another package by `_scope_`, which browse_dataset.py does not know: hence a visualizer anew.
_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='auto'))
visualizer = dict(
    _delete_=True, type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
