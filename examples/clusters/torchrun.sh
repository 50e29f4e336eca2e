#!/bin/bash
# Run the same command on every machine: torchrun.sh NUMBER_OF_MACHINES ADDRESS_OF_THE_FIRST
# torchrun starts one process per GPU and restarts them when one is lost; they then continue from the newest checkpoint.
set -euo pipefail
torchrun --no-python \
  --nnodes "$1" --nproc-per-node "${GPUS:-8}" \
  --rdzv-backend c10d --rdzv-endpoint "$2:29400" --rdzv-id "${JOB:-dino}" \
  --max-restarts 3 \
  dino train "${IMAGES:-imagenet/train}" --output "${RUN:-runs/vits16}" --resume auto \
  --preset paper --batch-size 64 --num-workers 9 --save-every-steps 500
