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
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/ablation-lib.sh"
usage_unless 3 "$@"
pool=$(folder_with "$1" pool.json)
teachers=$(folder_with "$2" mosaic-512x384/model.tflite mosaic-512x512/model.tflite)
data=$(folder_with "$3" dataset.toml)
cd "$here"
runs=$here/runs/distil
claim "$runs" "$pool" "$teachers" "$data"

# NAME POOL TEACHER [OPTION…]: labels of a pool by one teacher, of eight views of each panorama. What is there is compared.
label() {
    local name=$1 from=$2 teacher=$3
    shift 3
    ./kit label "$from" --teacher "$teacher" --views 8 --out "$runs/labels-$name" "$@"
}

# NAME DATA [OPTION…]: a student's int8 file.
teach() {
    local name=$1 labels=$2
    shift 2
    train_in "$runs/$name" train recipes/scene-fast.toml --data "$labels" \
        --set 'train.size=[96,192]' --set 'train.phases=[{epochs=6,crop=[96,192]}]' --set train.label_stride=1 \
        --set train.judge_every=100 "$@"
    quantise_to "$runs/$name.tflite" "$runs/$name/final.pt" "$data"
}

# LABELS: a pool of the pictures and of the views of a data set, so that every view is labelled by itself.
separate() {
    [ ! -d "$runs/views" ] || return 0
    rm -rf "$runs/views.part"
    python3 - "$pool" "$1" "$runs/views.part" <<'EOF'
import json, os, re, sys
pool, labels, out = sys.argv[1:]
listed = json.load(open(f"{pool}/pool.json"))["pictures"]
stem = lambda file: os.path.splitext(os.path.basename(file))[0]
places = {re.sub(r"_(bright|mid|dark)$", "", stem(row["file"])): row for row in listed if row["file"].startswith("panoramas/")}
pictures = {stem(row["file"]): row for row in listed if row["file"].startswith("pictures/")}
rows = []
os.makedirs(f"{out}/pictures")
for name in sorted(os.listdir(f"{labels}/images")):
    if stem(name) in pictures:
        continue
    view = re.fullmatch(r"(.+)_view\d+", stem(name))
    if not view or view[1] not in places:
        sys.exit(f"{labels}/images/{name}: is of no picture of {pool}; delete {labels} to label anew")
    os.symlink(f"{labels}/images/{name}", f"{out}/pictures/{name}")
    rows.append({**places[view[1]], "file": f"pictures/{name}"})
for row in pictures.values():
    os.symlink(f"{pool}/{row['file']}", f"{out}/{row['file']}")
    rows.append(row)
json.dump({"pictures": rows}, open(f"{out}/pool.json", "w"))
EOF
    mv "$runs/views.part" "$runs/views"
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
