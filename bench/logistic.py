"""scikit-learn's LogisticRegression on the same kind of features. Arguments: not used, then the row's settings as JSON."""

import json
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from contestant import contestant

c = json.loads(sys.argv[2])
random = np.random.default_rng(0)
labels = np.arange(c["train"]) % c["classes"]
centres = random.standard_normal((c["classes"], c["width"]))
rows = 0.15 * centres[labels] + random.standard_normal((c["train"], c["width"]))
rows = rows * 10 ** (2 * np.arange(c["width"]) / c["width"] - 1)


def turn():
    with threadpool_limits(c["threads"]):
        LogisticRegression(C=c["c"], max_iter=10000).fit(rows, labels)
    return 1


contestant(turn)
