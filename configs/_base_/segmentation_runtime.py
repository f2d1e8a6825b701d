# The first base of every segmentor. It imports mmvisionmix, so that MMEngine finds the bases of
# mmseg whatever its distribution is called, in the stock tools too (docs/install.md, The forks).
_base_ = [__import__('mmvisionmix') and 'mmseg::_base_/default_runtime.py']
