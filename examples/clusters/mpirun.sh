#!/bin/bash
# Open MPI: mpirun.sh HOSTFILE, with lines like `node1 slots=8`; the first is where rank 0 runs.
set -euo pipefail
first=$(awk 'NF && $1 !~ /^#/ {print $1; exit}' "$1")
mpirun --hostfile "$1" --bind-to none \
  -x "MASTER_ADDR=$first" -x MASTER_PORT=29500 -x PATH \
  dino train "${IMAGES:-imagenet/train}" --output "${RUN:-runs/vits16}" --resume auto \
  --preset paper --batch-size 64 --num-workers 9 --save-every-steps 500
