_base_ = './tasks/linglo-b2_mask2former_8xb2-lsj_coco.py'
