_base_ = './dualformer/dualformer-xs_mask-rcnn_8xb2-1x_coco.py'
