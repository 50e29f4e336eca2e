"""The reference's knn_classifier for its four values of k, on features in memory."""

import json
import sys

from contestant import contestant

sys.path.insert(0, sys.argv[1])
import torch  # noqa: E402

import eval_knn  # noqa: E402

c = json.loads(sys.argv[2])
torch.set_num_threads(c["threads"])
torch.manual_seed(0)


def make(count):
    features = torch.nn.functional.normalize(torch.randn(count, c["width"]), dim=1, p=2)
    return features, torch.arange(count) % 1000


train, test = make(c["train"]), make(c["val"])


def turn():
    for k in (10, 20, 100, 200):
        eval_knn.knn_classifier(train[0], train[1], test[0], test[1], k, 0.07)
    return 1


contestant(turn)
