"""facebookresearch/dino's own networks, augmentation, loss and train_one_epoch for a given time: see peer.py.

    python peer_reference.py REQUEST.json

The request also has `program`: a checkout (commit 7c446df). The reference is written for CUDA and several processes: its
.cuda() calls are turned into no-ops and its all_reduce runs in a group of one. Its schedules count whole epochs; here they
are laid over the steps that fit into the time, and warm-ups over the same share of them.
"""

import argparse
import os
import random
import sys
import tempfile
from functools import partial

import torch

torch.hub.list = lambda *a, **k: []  # on import the reference asks the network for XCiT's names
from peer import TRIAL_STEPS, Clock, TimeIsUp, finish, images, request, settings, side  # noqa: E402

sys.path.insert(0, request["program"])
import copy  # noqa: E402

import main_dino  # noqa: E402
import numpy as np  # noqa: E402
import torch.distributed as dist  # noqa: E402
import utils  # noqa: E402
import vision_transformer as vits  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torchvision import models  # noqa: E402

identity = lambda self, *a, **k: self  # noqa: E731
torch.Tensor.cuda = identity
nn.Module.cuda = identity
torch.cuda.synchronize = lambda *a, **k: None
utils.MetricLogger.synchronize_between_processes = lambda self: None  # it would reduce on a CUDA device
random.seed(request["seed"])
os.environ.update(RANK="0", WORLD_SIZE="1")
store = dist.FileStore(os.path.join(tempfile.mkdtemp(), "store"), 1)
dist.init_process_group("gloo", store=store, rank=0, world_size=1)

s = settings


class Images(torch.utils.data.Dataset):
    """The training images, through the reference's augmentation with the request's crop sizes."""

    def __init__(self):
        augment = main_dino.DataAugmentationDINO(
            s["globalCropsScale"], s["localCropsScale"], s["localCropsNumber"]
        )
        for transform in (augment.global_transfo1, augment.global_transfo2):
            transform.transforms[0].size = (side, side)
        augment.local_transfo.transforms[0].size = (side // 2, side // 2)
        self.augment = augment

    def __len__(self):
        return len(images["train"])

    def __getitem__(self, index):
        return self.augment(Image.open(images["train"][index]).convert("RGB")), 0


def backbone(drop_path_rate):
    if s["arch"] != "vit":
        return models.__dict__[s["arch"]]()
    return vits.VisionTransformer(
        img_size=[side],
        patch_size=s["patchSize"].get(str(side), max(4, side // 8)),
        embed_dim=s["embedDim"],
        depth=s["depth"],
        num_heads=s["numHeads"],
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        drop_path_rate=drop_path_rate,
    )


def head(width, norm_last_layer):
    return vits.DINOHead(
        width,
        s["outDim"],
        use_bn=s["useBnInHead"],
        norm_last_layer=norm_last_layer,
        nlayers=s["headNlayers"],
        hidden_dim=s["headHiddenDim"],
        bottleneck_dim=s["headBottleneckDim"],
    )


student, teacher = backbone(s["dropPathRate"]), backbone(0.0)
width = s["embedDim"] if s["arch"] == "vit" else student.fc.weight.shape[1]
student = utils.MultiCropWrapper(student, head(width, s["normLastLayer"]))
teacher = utils.MultiCropWrapper(teacher, head(width, True))
teacher.load_state_dict(student.state_dict())
untrained = copy.deepcopy(teacher.backbone.state_dict())
student = nn.parallel.DistributedDataParallel(student)
for p in teacher.parameters():
    p.requires_grad = False

batch = min(s["batchSize"], len(images["train"]))
loader = torch.utils.data.DataLoader(
    Images(),
    shuffle=True,
    batch_size=batch,
    num_workers=request["workers"],
    persistent_workers=True,
    drop_last=True,
)
per_epoch = len(loader)
steps = request["steps"] or TRIAL_STEPS
epochs = -(-steps // per_epoch)
clock = Clock(teacher.backbone, batch)


class Loader:
    """The loader with the clock around each step."""

    def __len__(self):
        return per_epoch

    def __iter__(self):
        for images in loader:
            clock.before_step()
            yield images
            clock.after_step()


def stretched(base, final, warmup_share=0.0):
    """The reference's cosine over exactly `steps` steps, the first of them a linear warm-up."""
    warm = round(warmup_share * steps)
    rest = utils.cosine_scheduler(base, final, 1, steps - warm)
    return np.concatenate((np.linspace(0, base, warm), rest))


loss = main_dino.DINOLoss(
    s["outDim"], s["localCropsNumber"] + 2, s["warmupTeacherTemp"], s["teacherTemp"], 0, max(1, epochs)
)
optimizer = torch.optim.AdamW(utils.get_params_groups(student))
lr = stretched(s["lr"] * batch / 256, s["minLr"], s["warmupShare"])
wd = stretched(s["weightDecay"], s["weightDecayEnd"])
momentum = stretched(s["momentumTeacher"], 1)
loop = argparse.Namespace(epochs=epochs, clip_grad=s["clipGrad"], freeze_last_layer=s["freezeLastLayer"])
try:
    for epoch in range(epochs):
        main_dino.train_one_epoch(
            student, teacher, teacher, loss, Loader(), optimizer, lr, wd, momentum, epoch, None, loop
        )
except TimeIsUp:
    pass
finish(clock, teacher.backbone, {"program": "facebookresearch/dino 7c446df", "untrained": untrained})
