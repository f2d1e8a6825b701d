_base_ = './linglo/linglo-b0_8xb128-300e_in1k.py'
