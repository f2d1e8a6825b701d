_base_ = './tasks/linglo-b2_panoptic-fpn_8xb2-1x_coco.py'
