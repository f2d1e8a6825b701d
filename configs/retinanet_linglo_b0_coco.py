_base_ = './linglo/linglo-b0_retinanet_8xb2-1x_coco.py'
