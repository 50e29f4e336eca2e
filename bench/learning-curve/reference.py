"""The reference's part of the learning-curve comparison: facebookresearch/dino's own train_one_epoch, DINOLoss,
DataAugmentationDINO, MultiCropWrapper and knn_classifier with the settings in setting.json.

    python reference.py --reference PATH_OF_THE_CHECKOUT --data PATH_OF_CIFAR --output OUT.json --seed 0

Needs torch 2.15, torchvision and the checkout (commit 7c446df). The reference is written for CUDA and several
processes: its .cuda() calls are turned into no-ops and its all_reduce runs in a group of one. Nothing else is changed.
"""

import argparse
import json
import os
import random
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--reference", required=True)
parser.add_argument("--data", required=True, help="folder with train/<class> and test/<class>")
parser.add_argument("--output", required=True)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--workers", type=int, default=2)
args = parser.parse_args()

torch.hub.list = lambda *a, **k: []  # on import the reference asks the network for XCiT's names
sys.path.insert(0, args.reference)
import eval_knn  # noqa: E402
import main_dino  # noqa: E402
import utils  # noqa: E402
import vision_transformer as vits  # noqa: E402

identity = lambda self, *a, **k: self  # noqa: E731
torch.Tensor.cuda = identity
nn.Module.cuda = identity
torch.cuda.synchronize = lambda *a, **k: None
utils.MetricLogger.synchronize_between_processes = lambda self: None  # it would reduce on a CUDA device

os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(29500 + args.seed), RANK="0", WORLD_SIZE="1")
dist.init_process_group("gloo")

setting = json.loads((Path(__file__).parent / "setting.json").read_text())
torch.manual_seed(args.seed)
np.random.seed(args.seed)
random.seed(args.seed)


def first_of_each_class(dataset, count):
    taken, samples = {}, []
    for path, label in dataset.samples:
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= count:
            samples.append((path, label))
    dataset.samples = dataset.imgs = samples
    dataset.targets = [label for _, label in samples]
    return dataset


class Augmentation(main_dino.DataAugmentationDINO):
    """Same transforms; the crop sizes are constants in the reference."""

    def __init__(self):
        super().__init__(setting["globalCropsScale"], setting["localCropsScale"], setting["localCropsNumber"])
        for transform in (self.global_transfo1, self.global_transfo2):
            transform.transforms[0].size = (setting["globalCropsSize"],) * 2
        self.local_transfo.transforms[0].size = (setting["localCropsSize"],) * 2


def backbone(drop_path_rate):
    return vits.VisionTransformer(
        img_size=[setting["globalCropsSize"]],
        patch_size=setting["patchSize"],
        embed_dim=setting["embedDim"],
        depth=setting["depth"],
        num_heads=setting["numHeads"],
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        drop_path_rate=drop_path_rate,
    )


def head(norm_last_layer):
    return vits.DINOHead(
        setting["embedDim"],
        setting["outDim"],
        norm_last_layer=norm_last_layer,
        nlayers=setting["headNlayers"],
        hidden_dim=setting["headHiddenDim"],
        bottleneck_dim=setting["headBottleneckDim"],
    )


curve = []


class WatchedLoss(main_dino.DINOLoss):
    """The reference's loss, which also records its values."""

    def forward(self, student_output, teacher_output, epoch):
        temp = self.teacher_temp_schedule[epoch]
        targets = torch.softmax((teacher_output - self.center) / temp, dim=-1)
        entropy = -torch.xlogy(targets, targets).sum(-1).mean().item()
        loss = super().forward(student_output, teacher_output, epoch)
        curve.append({"loss": loss.item(), "teacherEntropy": entropy})
        return loss


train = first_of_each_class(datasets.ImageFolder(f"{args.data}/train", transform=Augmentation()), setting["perClass"])
sampler = torch.utils.data.DistributedSampler(train, shuffle=True, seed=args.seed)
loader = torch.utils.data.DataLoader(
    train, sampler=sampler, batch_size=setting["batchSize"], num_workers=args.workers, drop_last=True
)
student = utils.MultiCropWrapper(backbone(setting["dropPathRate"]), head(setting["normLastLayer"]))
teacher = utils.MultiCropWrapper(backbone(0.0), head(True))
teacher.load_state_dict(student.state_dict())
student = nn.parallel.DistributedDataParallel(student)
for p in teacher.parameters():
    p.requires_grad = False
loss = WatchedLoss(
    setting["outDim"],
    setting["localCropsNumber"] + 2,
    setting["warmupTeacherTemp"],
    setting["teacherTemp"],
    setting["warmupTeacherTempEpochs"],
    setting["epochs"],
)
optimizer = torch.optim.AdamW(utils.get_params_groups(student))
epochs, steps = setting["epochs"], len(loader)
lr = utils.cosine_scheduler(
    setting["lr"] * setting["batchSize"] / 256, setting["minLr"], epochs, steps, warmup_epochs=setting["warmupEpochs"]
)
wd = utils.cosine_scheduler(setting["weightDecay"], setting["weightDecayEnd"], epochs, steps)
momentum = utils.cosine_scheduler(setting["momentumTeacher"], 1, epochs, steps)
loop = argparse.Namespace(
    epochs=epochs, clip_grad=setting["clipGrad"], freeze_last_layer=setting["freezeLastLayer"]
)

size = setting["globalCropsSize"]
plain = transforms.Compose(
    [
        transforms.Resize(size, interpolation=3),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


@torch.no_grad()
def knn():
    def features(split, per_class):
        dataset = datasets.ImageFolder(f"{args.data}/{split}", transform=plain)
        if per_class:
            dataset = first_of_each_class(dataset, per_class)
        batches = torch.utils.data.DataLoader(dataset, batch_size=128, num_workers=args.workers)
        model = teacher.backbone.eval()
        x = torch.cat([model(images) for images, _ in batches])
        teacher.backbone.train()
        return nn.functional.normalize(x, dim=1), torch.tensor(dataset.targets)

    trained, tested = features("train", setting["perClass"]), features("test", None)
    return {str(k): eval_knn.knn_classifier(*trained, *tested, k, 0.07, num_classes=10)[0] for k in setting["knn"]}


start = time.time()
before = knn()
for epoch in range(epochs):
    loader.sampler.set_epoch(epoch)
    main_dino.train_one_epoch(
        student, teacher, teacher, loss, loader, optimizer, lr, wd, momentum, epoch, None, loop
    )
result = {
    "who": "facebookresearch/dino 7c446df",
    "torch": torch.__version__,
    "seed": args.seed,
    "stepsPerEpoch": steps,
    "seconds": round(time.time() - start, 1),
    "knnBefore": before,
    "knn": knn(),
    "curve": curve,
}
Path(args.output).write_text(json.dumps(result))
print(json.dumps({key: result[key] for key in ("seed", "seconds", "knnBefore", "knn")}), flush=True)
