#!/usr/bin/env bash
#SBATCH --job-name=data-path
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
# A Ray cluster over the nodes of a Slurm job, for one command: sbatch --nodes 4 deploy/ray-slurm.sh COMMAND…
#
# Submit it from the project's folder, on storage that all nodes see, with the environment active. Slurm ends Ray's
# processes with the job.
set -euo pipefail
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on() { srun --overlap --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}"; }
head=$(on "${nodes[0]}" hostname -I | cut -d' ' -f1)
port=$((20000 + SLURM_JOB_ID % 10000))
token=$PWD/.scratch/ray-token-$SLURM_JOB_ID
mkdir -p .scratch
trap 'rm -f "$token"' EXIT
(umask 077; od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0 RAY_ADDRESS=$head:$port
cpus=${SLURM_CPUS_PER_TASK:-1}
on "${nodes[0]}" ray start --head --block --node-ip-address="$head" --port="$port" --num-cpus="$cpus" \
  --include-dashboard=false >/dev/null &
nodes_up() { on "${nodes[0]}" ray status 2>/dev/null | grep -c ' node_' || true; }
for _ in $(seq 60); do [ "$(nodes_up)" -ge 1 ] && break; sleep 2; done
for node in "${nodes[@]:1}"; do
  on "$node" ray start --block --address="$RAY_ADDRESS" --num-cpus="$cpus" >/dev/null &
done
for _ in $(seq 60); do [ "$(nodes_up)" -ge "${#nodes[@]}" ] && break; sleep 2; done
on "${nodes[0]}" "$@"
