_base_ = './mcganet/mcganet_retinanet_8xb2-1x_coco.py'
