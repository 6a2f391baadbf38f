#!/bin/bash
# Two nodes of 8 GPUs under Slurm:
#   sbatch configs/slurm.sh --profile multi --annotations FILE --videos FOLDER \
#     --output_dir runs/NAME [options of scripts/train_grpo.py]
# Submit it from the project's folder, its environment activated, and the model in the cache:
# compute nodes often have no network. After the time limit submit the same line again: it goes
# on. Two nodes ask twice as many questions per step as one does.
#SBATCH --job-name=video-grpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%j.out
#SBATCH --open-mode=append
# Time for the step at work and its checkpoint.
#SBATCH --signal=USR1@600
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export first
# Since Slurm 22.05 srun does not take this from the job.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

# One launcher per node; a requeued job goes on from its last checkpoint. Slurm signals the shell
# below alone, which passes it to the training processes: the launcher would end of it.
srun --kill-on-bad-exit=1 bash -c '
  trap "" USR1
  accelerate launch \
    --config_file configs/accelerate/fsdp2_two_nodes.yaml \
    --num_machines "$SLURM_NNODES" \
    --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
    --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$first" \
    scripts/train_grpo.py --resume_from_checkpoint last "$@" &
  launcher=$!
  trap "pkill -USR1 -P $launcher" USR1
  wait "$launcher" || wait "$launcher"
' train "$@"
