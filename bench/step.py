"""The reference's own train_one_epoch on crops in memory. Arguments: its checkout, then the row's settings as JSON."""

import json
import sys
from types import SimpleNamespace

from contestant import contestant
from one_process import Wrapped, stand_alone

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402
import torchvision  # noqa: E402

import main_dino  # noqa: E402
import utils  # noqa: E402
import vision_transformer as vits  # noqa: E402

c = json.loads(sys.argv[2])
torch.set_num_threads(c["threads"])
torch.manual_seed(0)
device = c.get("device", "cpu")
stand_alone(device)


def network(drop_path_rate):
    if c["arch"].startswith("vit"):
        backbone = vits.__dict__[c["arch"]](
            patch_size=c["patchSize"], img_size=[c["globalSize"]], drop_path_rate=drop_path_rate
        )
        dim = backbone.embed_dim
    else:
        backbone = torchvision.models.__dict__[c["arch"]]()
        dim = backbone.fc.weight.shape[1]
    if c.get("compile"):
        backbone = torch.compile(backbone)
    return utils.MultiCropWrapper(backbone, main_dino.DINOHead(dim, c["outDim"])).to(device)


student, teacher = Wrapped(network(c["dropPathRate"])), network(0.0)
teacher.load_state_dict(student.module.state_dict())
for p in teacher.parameters():
    p.requires_grad = False
loss = main_dino.DINOLoss(c["outDim"], 2 + c["locals"], 0.04, 0.04, 0, 2).to(device)
optimizer = torch.optim.AdamW(utils.get_params_groups(student))
crops = [torch.randn(c["batch"], 3, c["globalSize"], c["globalSize"]) for _ in range(2)]
crops += [torch.randn(c["batch"], 3, c["localSize"], c["localSize"]) for _ in range(c["locals"])]
crops = [crop.to(device) for crop in crops]
args = SimpleNamespace(clip_grad=3.0, freeze_last_layer=1, epochs=2)
precision = c.get("precision", "fp32")
scaler = torch.cuda.amp.GradScaler() if precision == "fp16" else None


def under_autocast(module):
    """Runs a module's forward pass under torch.autocast, which main_dino.py itself enters only for fp16 on CUDA."""
    forward = module.forward

    def run(*args):
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return forward(*args)

    module.forward = run


if precision == "bf16":
    for module in (student, teacher, loss):
        under_autocast(module)
big = [1e-5] * 100000, [0.04] * 100000, [0.996] * 100000


def steps(n):
    loader = [(crops, None)] * n
    main_dino.train_one_epoch(student, teacher, teacher, loss, loader, optimizer, *big, 1, scaler, args)
    return n


steps(1)
contestant(lambda: steps(c["steps"]))
