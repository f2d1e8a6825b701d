_base_ = './mcganet/mcganet_8xb128-300e_in1k.py'
