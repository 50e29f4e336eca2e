"""The reference's DataAugmentationDINO on the files of crops.mjs, in one thread."""

import json
import os
import random
import sys
import tempfile

from contestant import contestant

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torchvision import transforms  # noqa: E402

import main_dino  # noqa: E402

c = json.loads(sys.argv[2])
torch.set_num_threads(1)
random.seed(0)
torch.manual_seed(0)


def files_of(kind, data):
    def inside(folder):
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]

    if kind == "cifar":
        return inside(os.path.join(data, "cifar10-mini", "train", "airplane"))[:200]
    if kind == "large":
        return [os.path.join(tempfile.gettempdir(), "dino-bench-4000x3000.jpg")]
    return [file for file in inside(os.path.join(data, "photos")) if Image.open(file).size == (500, 375)]


files = files_of(c["set"], c["data"])
augment = main_dino.DataAugmentationDINO((0.4, 1.0), (0.05, 0.4), c.get("locals", 8))
if "globalSize" in c:  # the reference has its sizes as constants: replace them in place

    def resize(pipeline, size):
        pipeline.transforms[0].size = (size, size)

    resize(augment.global_transfo1, c["globalSize"])
    resize(augment.global_transfo2, c["globalSize"])
    resize(augment.local_transfo, c["localSize"])
times = max(1, round({"cifar": 400, "photos": 60, "large": 5}[c["set"]] / len(files)))


def everything():
    for file in files:
        with open(file, "rb") as stream:  # as torchvision's ImageFolder reads
            augment(Image.open(stream).convert("RGB"))


def turn():
    for _ in range(times):
        everything()
    return times * len(files)


everything()
contestant(turn)
