# CIFAR-100 with the augmentation of CIFAR-10, as in the paper.
_base_ = './cifar10_autoaug.py'

data_preprocessor = dict(
    num_classes=100, mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])
train_pipeline = [
    dict(step, fill_color=data_preprocessor['mean']) if step['type'] == 'RandomErasing' else step
    for step in _base_.train_pipeline
]
cifar100 = dict(type='CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=dict(**cifar100, pipeline=train_pipeline))
val_dataloader = dict(dataset=cifar100)
test_dataloader = val_dataloader
