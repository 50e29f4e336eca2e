"""One epoch of the reference: its augmentation, ImageFolder and a loader with one worker, its train_one_epoch."""

import json
import os
import sys
from collections import Counter
from types import SimpleNamespace

from contestant import contestant
from one_process import Wrapped, stand_alone

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
from torchvision import datasets  # noqa: E402

import main_dino  # noqa: E402
import utils  # noqa: E402
import vision_transformer as vits  # noqa: E402

c = json.loads(sys.argv[2])
torch.set_num_threads(c["threads"])
torch.manual_seed(0)
stand_alone("cpu")


def network(drop_path_rate):
    backbone = vits.__dict__[c["arch"]](patch_size=16, drop_path_rate=drop_path_rate)
    return utils.MultiCropWrapper(backbone, main_dino.DINOHead(backbone.embed_dim, c["outDim"]))


def turn():
    augment = main_dino.DataAugmentationDINO((0.4, 1.0), (0.05, 0.4), 8)
    dataset = datasets.ImageFolder(os.path.join(c["data"], "imagenette-mini", "train"), transform=augment)
    if c["perClass"] > 0:
        taken = Counter()
        few = []
        for i, label in enumerate(dataset.targets):
            taken[label] += 1
            if taken[label] <= c["perClass"]:
                few.append(i)
        dataset = torch.utils.data.Subset(dataset, few)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=c["batch"], num_workers=1, shuffle=True, drop_last=True
    )
    student, teacher = Wrapped(network(0.1)), network(0.0)
    teacher.load_state_dict(student.module.state_dict())
    for p in teacher.parameters():
        p.requires_grad = False
    loss = main_dino.DINOLoss(c["outDim"], 10, 0.04, 0.04, 0, 1)
    optimizer = torch.optim.AdamW(utils.get_params_groups(student))
    n = len(loader)
    schedules = [1e-5] * n, [0.04] * n, [0.996] * n
    args = SimpleNamespace(clip_grad=3.0, freeze_last_layer=1, epochs=1)
    main_dino.train_one_epoch(student, teacher, teacher, loss, loader, optimizer, *schedules, 0, None, args)
    return 1


contestant(turn)
