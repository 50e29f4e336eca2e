"""Training steps of lightly-train's method 'dino' on crops in memory, with its own Lightning module and trainer.

Arguments: not used, then the row's settings as JSON. Written for lightly-train 0.18.
"""

import json
import sys
import time
import warnings

from contestant import peak_memory, say

import torch
from lightly_train._methods.dino.dino import DINO, DINOAdamWArgs, DINOArgs
from lightly_train._models import package_helpers
from lightly_train._models.embedding_model import EmbeddingModel
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
c = json.loads(sys.argv[2])
torch.set_num_threads(c["threads"])
torch.manual_seed(0)

MODELS = {"vit_small": "timm/vit_small_patch16_224", "vit_tiny": "timm/vit_tiny_patch16_224"}
wrapped = package_helpers.get_wrapped_model(
    MODELS[c["arch"]],
    num_input_channels=3,
    model_args={"drop_path_rate": c["dropPathRate"]},
    load_weights=False,
)
args = DINOArgs(
    output_dim=c["outDim"],
    teacher_temp=0.04,
    warmup_teacher_temp=0.04,
    warmup_teacher_temp_steps=0,
    student_freeze_last_layer_steps=0,
    momentum_start=0.996,
    weight_decay_start=0.04,
    weight_decay_end=0.04,
)
method = DINO(
    method_args=args,
    optimizer_args=DINOAdamWArgs(),
    embedding_model=EmbeddingModel(wrapped_model=wrapped),
    global_batch_size=c["batch"],
    num_input_channels=3,
)
views = [torch.randn(c["batch"], 3, c["globalSize"], c["globalSize"]) for _ in range(2)]
views += [torch.randn(c["batch"], 3, c["localSize"], c["localSize"]) for _ in range(c["locals"])]
batch = {"views": views, "filename": [str(i) for i in range(c["batch"])]}


class Turns(Callback):
    """One step for each line `run`, after a warm-up step."""

    def on_train_batch_start(self, trainer, module, batch, index):
        if index == 1:
            say({"ready": True})
        if index > 0 and sys.stdin.readline().strip() != "run":
            sys.exit(0)
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if index > 0:
            say({"seconds": time.perf_counter() - self.start, "peakMiB": peak_memory()})


trainer = Trainer(
    accelerator="cpu",
    precision="bf16-mixed" if c.get("precision") == "bf16" else "32-true",
    max_epochs=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[Turns()],
)
trainer.fit(method, DataLoader([batch] * 1000, batch_size=None, shuffle=False))
