"""Features of image files as eval_knn.py extracts them: its transform, a loader with one worker, ViT-S/16."""

import json
import os
import sys

from contestant import contestant

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

import vision_transformer as vits  # noqa: E402

c = json.loads(sys.argv[2])
torch.set_num_threads(c["threads"])
torch.manual_seed(0)
model = vits.vit_small(patch_size=16).eval()
transform = transforms.Compose(
    [
        transforms.Resize(256, interpolation=3),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)
dataset = datasets.ImageFolder(os.path.join(c["data"], "imagenette-mini", "val"), transform=transform)
every = len(dataset) // c["images"]
subset = torch.utils.data.Subset(dataset, range(0, every * c["images"], every))


@torch.no_grad()
def turn():
    done = 0
    for samples, _ in torch.utils.data.DataLoader(subset, batch_size=c["batch"], num_workers=1):
        done += len(model(samples))
    return done


contestant(turn)
