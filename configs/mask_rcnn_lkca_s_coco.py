_base_ = './tasks/lkca-s_mask-rcnn_8xb2-1x_coco.py'
