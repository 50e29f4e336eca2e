"""What the peers' programs share: the request, the clock, the weights kept on the way, and features of the images.

A program is called with a request in JSON (written by peers.mjs): `images` (the images.json of data.mjs), `folders` (the
training folders), `out`, `side`, `whole`, `seed`, `workers`, `settings`, `started` (when its process was started, seconds
since 1970), `seconds` (of the process, until its training ends) or null, `steps` (of the schedules) or null for a trial, and
`points` (how often weights are kept). It writes done.json, and for each point a folder of features that evaluate.mjs reads.
"""

import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

request = json.loads(Path(sys.argv[1]).read_text())
images = json.loads(Path(request["images"]).read_text())
out = Path(request["out"])
settings = request["settings"]
side = settings.pop("side", request["side"])  # of crops and of the images that are read, pixels
TRIAL_STEPS = 10**6

torch.manual_seed(request["seed"])
np.random.seed(request["seed"])


class TimeIsUp(Exception):
    pass


class Clock:
    """Keeps weights on a schedule, in memory; ends the training when its time is up."""

    def __init__(self, backbone, batch):
        self.backbone, self.batch = backbone, batch
        self.points, self.step, self.first, self.training = [], 0, None, 0.0

    def before_step(self):
        """Called before each step, when its data are there."""
        if self.first is None:
            self.first = time.time()

    def after_step(self):
        self.step += 1
        now = time.time()
        self.training = now - self.first
        share = self.step / (request["steps"] or TRIAL_STEPS)
        if request["seconds"] is not None:
            share = max(share, (now - request["started"]) / request["seconds"])
        if request["steps"] is not None and share >= (len(self.points) + 1) / request["points"]:
            self.keep(now)
        if share >= 1:
            raise TimeIsUp

    def keep(self, now):
        self.points.append(
            {
                "step": self.step,
                "views": self.step * self.batch,
                "seconds": now - request["started"],
                "trainingSeconds": self.training,
                "state": copy.deepcopy(self.backbone.state_dict()),
            }
        )

    def finish(self):
        """Ends the clock: the weights are on disk, as any training leaves them."""
        if request["steps"] is not None and (not self.points or self.points[-1]["step"] < self.step):
            self.keep(time.time())
        torch.save(self.backbone.state_dict(), out / "weights.pth")
        self.seconds = time.time() - request["started"]


def prepared(listed):
    """(N, 3, side, side) uint8: shorter side resized (bicubic), centre cut out, as the reference's eval_knn.py."""
    resize = side if request["whole"] else round(side * 256 / 224)
    steps = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.PILToTensor(),
        ]
    )
    return torch.stack([steps(Image.open(name).convert("RGB")) for name, _ in listed])


@torch.no_grad()
def features_of(model, pixels):
    """(N, D) float32."""
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    rows = [model((batch.float() / 255 - mean) / std).flatten(1).float() for batch in pixels.split(128)]
    return torch.cat(rows).numpy()


def finish(clock, model, about):
    """Writes the features of every kept point, outside the clock, and done.json."""
    clock.finish()
    model.eval()
    untrained = about.pop("untrained", None)
    points = clock.points
    if untrained is not None and request["steps"] is not None:
        points = [{"step": 0, "views": 0, "seconds": 0, "trainingSeconds": 0, "state": untrained}, *points]
    parts = {
        f"{pair['name']}-{part}": prepared(pair[part])
        for pair in (images["pairs"] if points else [])
        for part in ("train", "val")
    }
    for point in points:
        clock.backbone.load_state_dict(point.pop("state"))
        folder = out / "features" / str(point["step"])
        folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in parts.items():
            np.save(folder / f"{name}.npy", features_of(model, pixels))
        point["features"] = str(folder)
    done = {
        "steps": clock.step,
        "batch": clock.batch,
        "seconds": clock.seconds,
        "trainingSeconds": clock.training,
        "startSeconds": clock.first - request["started"],
        "points": points,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, **about},
    }
    (out / "done.json").write_text(json.dumps(done))
