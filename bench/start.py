"""A whole Python process up to the start of its first step: the reference's imports, networks, loader and optimizer."""

import subprocess
import sys

from contestant import contestant

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
c = json.loads(sys.argv[2])
import torch, torchvision
from torchvision import datasets
import main_dino, utils
import vision_transformer as vits
torch.set_num_threads(c['threads'])
augment = main_dino.DataAugmentationDINO((0.4, 1.0), (0.05, 0.4), 8)
dataset = datasets.ImageFolder(c['data'] + '/imagenette-mini/train', transform=augment)
loader = torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=1, drop_last=True, shuffle=True)
student = utils.MultiCropWrapper(vits.vit_tiny(patch_size=16), main_dino.DINOHead(192, 4096))
teacher = utils.MultiCropWrapper(vits.vit_tiny(patch_size=16), main_dino.DINOHead(192, 4096))
teacher.load_state_dict(student.state_dict())
optimizer = torch.optim.AdamW(utils.get_params_groups(student))
crops, _ = next(iter(loader))
"""


def turn():
    subprocess.run([sys.executable, "-c", PROGRAM, sys.argv[1], sys.argv[2]], check=True)
    return 1


contestant(turn)
