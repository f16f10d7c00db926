#!/bin/bash
# Makes the files that kit/ablation-scene.toml judges, in kit/runs/scene-ablation: what each step of compression makes of
# scene-fast 1.1.0. Its row QAT is scene-fast 1.2.0. What is there already is kept, so that a run that was ended goes on.
#
#     kit/ablation-scene.sh DATA
#
# DATA is the data set that `kit label` makes of the pool (models/scene-fast/README.md). It takes about 80 minutes of one x86_64
# core.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/ablation-lib.sh"
usage_unless 1 "$@"
data=$(folder_with "$1" dataset.toml)
cd "$here"
runs=$here/runs/scene-ablation
float=$runs/float.pt
claim "$runs" "$data"
if [ ! -f "$float" ]; then
    git show 0acec59:models/scene-fast/checkpoint.pt > "$float.part" ||
        die "$float: can't be made: the disk is full, or this is no clone that has commit 0acec59 (git fetch --unshallow)"
    mv "$float.part" "$float"
fi

# NAME CHECKPOINT [OPTION…]: the int8 file of a checkpoint.
quantise() {
    local name=$1 checkpoint=$2
    shift 2
    quantise_to "$runs/$name.tflite" "$checkpoint" "$data" "$@"
}

# NAME COMMAND… : a checkpoint that a command makes.
make() {
    local name=$1
    shift
    [ -f "$runs/$name.pt" ] || ./kit "$@" --out "$runs/$name.pt"
}

# NAME COMMAND CHECKPOINT RATE: a checkpoint trained on for four epochs, on a third of the panoramas' views.
train() {
    local name=$1 command=$2 checkpoint=$3 rate=$4
    train_in "$runs/$name" "$command" recipes/scene-fast.toml --data "$data" --from "$checkpoint" \
        --set "train.rate=$rate" --set 'train.phases=[{epochs=4,crop=[192,288]}]' --set train.judge_every=100 \
        --set 'data.train_without=["*_view01[6-9]","*_view02?","*_view03?","*_view04?"]'
    quantise "$name" "$runs/$name/final.pt"
}

quantise ptq "$float"
quantise plain "$float" --method minmax --nearest --keep-biases

make pruned prune "$float" --ratio 0.3 --data "$data"
make tucker factorise "$float" --saving 0.7 --only head.conv refine.conv
make cp factorise "$float" --method cp --saving 0.7 --only head.conv refine.conv
make svd factorise "$float" --saving 0.3
make book5 codebook "$float" --bits 5 --data "$data"
make book4 codebook "$float" --bits 4 --data "$data"
make book3 codebook "$float" --bits 3 --data "$data"
make book2 codebook "$float" --bits 2 --data "$data"
make book3c codebook "$float" --bits 3 --scope channel --data "$data"
make blind4 codebook "$float" --bits 4
for name in pruned tucker cp svd book5 book4 book3 book2 book3c blind4; do
    quantise "$name" "$runs/$name.pt"
done

train longer train "$float" 1e-4
train qat qat "$float" 1e-4
train pruned-trained train "$runs/pruned.pt" 5e-4
train tucker-trained train "$runs/tucker.pt" 3e-4
