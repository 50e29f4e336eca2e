"""Features of image files as eval_knn.py extracts them: its transform, a loader with one worker, by default ViT-S/16.

`by` says whose network: the reference's, `dinov2`'s or `dinov3`'s own (checkouts in DINO_BENCH_DINOV2 and DINO_BENCH_DINOV3), or
`transformers`'. Weights are random.
"""

import json
import os
import sys

from contestant import contestant

import torch
from torchvision import datasets, transforms

c = json.loads(sys.argv[2])
side = c.get("side", 224)
torch.set_num_threads(c["threads"])
torch.manual_seed(0)


def of_reference():
    sys.path.insert(0, sys.argv[1])
    import vision_transformer as vits

    return vits.vit_small(patch_size=16)


def of_hub(project):
    sys.path.insert(0, os.environ[f"DINO_BENCH_{project.upper()}"])
    backbones = __import__(f"{project}.hub.backbones", fromlist=[c["arch"]])
    return getattr(backbones, c["arch"])(pretrained=False)


def of_transformers():
    import transformers

    width, heads = {"dinov2_vits14": (384, 6), "dinov3_vitb16": (768, 12)}[c["arch"]]
    sizes = {"hidden_size": width, "num_hidden_layers": 12, "num_attention_heads": heads}
    if c["arch"].startswith("dinov2"):
        model = transformers.Dinov2Model(transformers.Dinov2Config(image_size=518, patch_size=14, **sizes))
    else:
        config = transformers.DINOv3ViTConfig(
            patch_size=16, intermediate_size=4 * width, num_register_tokens=4, **sizes
        )
        model = transformers.DINOv3ViTModel(config)
    model.eval()
    return lambda samples: model(samples).pooler_output


by = c.get("by", "reference")
model = {"reference": of_reference, "transformers": of_transformers}.get(by, lambda: of_hub(by))()
if isinstance(model, torch.nn.Module):
    model.eval()
transform = transforms.Compose(
    [
        transforms.Resize(round(side * 256 / 224), interpolation=3),
        transforms.CenterCrop(side),
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
    bf16 = c.get("precision") == "bf16"
    for samples, _ in torch.utils.data.DataLoader(subset, batch_size=c["batch"], num_workers=1):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            done += len(model(samples))
    return done


contestant(turn)
