"""lightly-train 0.18's method `dino` for a given time, by its own pretrain(): see peer.py.

    python peer_lightly.py REQUEST.json

`settings` has what pretrain() takes (`batch_size`, `method_args`, `optim_args`, ...), and besides `arch`, a name of
torchvision, and `smallStem`: a 3 x 3 convolution of stride 1 without pooling in place of its first layers, as is usual for
images of 32 pixels; `side`, at which images are read, where it is not the data set's. Only what is set differs from lightly-train's defaults; the sizes of crops are always set, since its
default of 224 pixels would be seven times the images' own size.
"""

import os
import warnings

os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"
from peer import TRIAL_STEPS, Clock, TimeIsUp, finish, images, out, request, settings, side  # noqa: E402

import copy  # noqa: E402
import math  # noqa: E402

import lightly_train  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from lightly_train._callbacks import callback_helpers  # noqa: E402
from pytorch_lightning import Callback  # noqa: E402
from torch import nn  # noqa: E402

warnings.filterwarnings("ignore")
s = dict(settings)
network = getattr(torchvision.models, s.pop("arch"))()
if s.pop("smallStem", False):
    network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
untrained = copy.deepcopy({k: v for k, v in network.state_dict().items() if not k.startswith("fc.")})
batch = min(s.pop("batch_size", 128), len(images["train"]))
per_epoch = len(images["train"]) // batch
steps = request["steps"] or TRIAL_STEPS
transform_args = {"image_size": (side, side), **s.pop("transform_args", {})}
transform_args["local_view"] = {"view_size": (side // 2, side // 2), **transform_args.get("local_view", {})}


class Watch(Callback):
    """The clock around each step, on the teacher, whose weights are the model's."""

    clock = None

    def on_train_start(self, trainer, module):
        self.clock = Clock(teacher_of(module), batch)

    def on_train_batch_start(self, trainer, module, batch, index):
        self.clock.before_step()

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        try:
            self.clock.after_step()
        except TimeIsUp:
            trainer.should_stop = True


def teacher_of(module):
    return module.teacher_embedding_model.wrapped_model.get_model()


watch = Watch()
own_callbacks = callback_helpers.get_callbacks
# trainer_args are logged as JSON, which a callback can't be
callback_helpers.get_callbacks = lambda **given: [*own_callbacks(**given), watch]
lightly_train.pretrain(
    out=out / "lightly",
    data=request["folders"],
    model=network,
    method="dino",
    accelerator="cpu",
    devices=1,
    seed=request["seed"],
    batch_size=batch,
    epochs=math.ceil(steps / per_epoch),
    transform_args=transform_args,
    # no copies of the weights within the clock but the kept ones
    callbacks={"model_checkpoint": None, "model_export": None},
    trainer_args={
        "max_steps": steps,
        "min_epochs": 0,
        "min_steps": 0,
        "enable_checkpointing": False,
    },
    overwrite=True,
    **s,
)
clock = watch.clock
model = clock.backbone
model.fc = nn.Identity()
clock.points = [
    {**point, "state": {k: v for k, v in point["state"].items() if not k.startswith("fc.")}} for point in clock.points
]
finish(
    clock,
    model,
    {"program": f"lightly-train {lightly_train.__version__}", "untrained": untrained},
)
