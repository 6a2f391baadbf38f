#!/bin/bash
# Two nodes of 8 GPUs under Slurm:
#   sbatch configs/slurm.sh --profile multi --output_dir runs/NAME [options of scripts/train_grpo.py]
# Submit it from the project's folder, its environment activated, and the model in the cache:
# compute nodes often have no network.
#SBATCH --job-name=video-grpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%j.out
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export first

# One launcher a node; a requeued job goes on from its last checkpoint.
srun --kill-on-bad-exit=1 bash -c '
  accelerate launch \
    --config_file configs/accelerate/fsdp2_two_nodes.yaml \
    --num_machines "$SLURM_NNODES" \
    --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
    --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$first" \
    scripts/train_grpo.py --resume_from_checkpoint last "$@"
' train "$@"
