_base_ = './tasks/mcganet_rtmdet_8xb32-300e_coco.py'
