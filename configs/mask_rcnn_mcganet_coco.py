_base_ = './mcganet/mcganet_mask-rcnn_8xb2-1x_coco.py'
