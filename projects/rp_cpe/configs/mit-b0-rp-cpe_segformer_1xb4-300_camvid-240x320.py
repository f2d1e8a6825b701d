# SegFormer-B0 with RP-CPE in it, fine-tuned: --cfg-options load_from=plugged.pth
_base_ = './mit-b0_segformer_1xb4-300-tuned_camvid-240x320.py'

custom_imports = dict(imports=['rp_cpe'])  # PYTHONPATH=projects/rp_cpe
model = dict(backbone=dict(
    _delete_=True, type='plugged', network={{_base_.model.backbone}}))
