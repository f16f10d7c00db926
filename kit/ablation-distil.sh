#!/bin/bash
# Makes the files that kit/ablation-distil.toml judges, in kit/runs/distil: a small student, taught in several ways. What is
# there already is kept, so that a run that was ended goes on.
#
#     kit/ablation-distil.sh POOL TEACHERS DATA
#
# POOL is what `kit pool` makes, TEACHERS holds mosaic-512x384 and mosaic-512x512, and DATA is the data set that `kit label`
# makes of the pool with both (models/scene-fast/README.md). About two hours on one x86_64 core. The student is scene-fast's
# network on 192x96 pixels, from ImageNet weights, six epochs on all pictures and eight views of each panorama.
set -euo pipefail

[ $# -eq 3 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 64; }
pool=$(realpath "$1") teachers=$(realpath "$2") data=$(realpath "$3")
cd "$(dirname "$(realpath "$0")")"
runs=$PWD/runs/distil
mkdir -p "$runs"

# NAME POOL TEACHER [OPTION…]: labels of a pool by one teacher, of eight views of each panorama.
label() {
    local name=$1 from=$2 teacher=$3
    shift 3
    [ -f "$runs/labels-$name/dataset.toml" ] ||
        ./kit label "$from" --teacher "$teacher" --views 8 --out "$runs/labels-$name" "$@"
}

# NAME DATA [OPTION…]: a student's int8 file.
teach() {
    local name=$1 labels=$2
    shift 2
    if [ ! -f "$runs/$name/final.pt" ]; then
        local start=()
        [ ! -f "$runs/$name/last.pt" ] || start=(--resume)
        ./kit train recipes/scene-fast.toml --data "$labels" --out "$runs/$name" "${start[@]}" \
            --set 'train.size=[96,192]' --set 'train.phases=[{epochs=6,crop=[96,192]}]' --set train.label_stride=1 \
            --set train.judge_every=100 "$@"
    fi
    [ -f "$runs/$name.tflite" ] ||
        ./kit quantise "$runs/$name/final.pt" --calibration "$data" --split train --pictures 96 --out "$runs/$name.tflite"
}

# A pool of the pictures and of the views of another data set, so that every view is labelled by itself.
separate() {
    [ ! -f "$runs/views/pool.json" ] || return 0
    python3 - "$pool" "$1" "$runs/views" <<'EOF'
import json, os, re, sys
pool, labels, out = sys.argv[1:]
listed = json.load(open(f"{pool}/pool.json"))["pictures"]
kinds = {re.sub(r"_(bright|mid|dark)$", "", os.path.splitext(os.path.basename(row["file"]))[0]): row for row in listed}
rows = []
os.makedirs(f"{out}/pictures", exist_ok=True)
for name in sorted(os.listdir(f"{labels}/images")):
    place, is_view, _ = os.path.splitext(name)[0].rpartition("_view")
    if is_view:
        os.symlink(f"{labels}/images/{name}", f"{out}/pictures/{name}")
        rows.append({**kinds[place], "file": f"pictures/{name}"})
for row in listed:
    if row["file"].startswith("pictures/"):
        os.symlink(f"{pool}/{row['file']}", f"{out}/{row['file']}")
        rows.append(row)
json.dump({"pictures": rows}, open(f"{out}/pool.json", "w"))
EOF
}

mosaic=$teachers/mosaic-512x384/model.tflite
label one "$pool" "$mosaic" --no-mirror
label mirror "$pool" "$mosaic"
label sure0 "$pool" "$mosaic" --no-mirror --threshold 0
separate "$runs/labels-one"
label alone "$runs/views" "$mosaic" --no-mirror

# DATA has 48 views of each panorama.
first=(--set 'data.train_without=["*_view00[89]","*_view0[1-4]?"]')
teach whole "$data" "${first[@]}"
teach seed "$data" "${first[@]}" --set train.seed=1
teach labels "$data" "${first[@]}" --set distil.soft_weight=0 --set distil.label_weight=1
teach soft "$data" "${first[@]}" --set distil.label_weight=0
teach unbalanced "$data" "${first[@]}" --set train.class_power=0
teach last "$data" "${first[@]}" --set train.average=0
for name in one mirror sure0 alone; do
    teach "$name" "$runs/labels-$name"
done

# The student of all teachers' answers teaches the next one, which starts anew.
label self "$pool" "$runs/whole/final.pt" --no-mirror
teach self "$runs/labels-self"
