_base_ = './linglo/linglo-b0_fpn_4xb8-40k_ade20k-512x512.py'
