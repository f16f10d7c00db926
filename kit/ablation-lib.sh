# shellcheck shell=bash
# What kit/ablation-distil.sh and kit/ablation-scene.sh share. Sourced after `set -euo pipefail`, never run by itself.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

# COUNT ARGUMENT…: prints the script's header and ends, where that is asked for or the arguments are of another number.
usage_unless() {
    local count=$1
    shift
    case ${1-} in
    -h | --help)
        usage
        exit 0
        ;;
    esac
    if [ $# -ne "$count" ]; then
        usage >&2
        exit 64
    fi
}

# FOLDER FILE…: the folder's whole path, if all the files are in it.
folder_with() {
    local folder file
    folder=$(realpath -e -- "$1") || exit
    shift
    for file in "$@"; do
        [ -f "$folder/$file" ] || die "$folder: has no $file; expected the folder that the header tells of (see --help)"
    done
    printf '%s\n' "$folder"
}

# FOLDER ARGUMENT…: makes the folder and keeps other runs of the script out of it. What lies there was made from the arguments
# that it was begun with: others are refused.
claim() {
    local folder=$1 noted=$1/arguments
    shift
    mkdir -p "$folder"
    exec 9< "$folder"
    flock --nonblock 9 || die "$folder: another run writes to it; wait until it has ended"
    if [ ! -e "$noted" ]; then
        printf '%s\n' "$@" > "$noted.part"
        mv "$noted.part" "$noted"
    fi
    printf '%s\n' "$@" | cmp --quiet - "$noted" ||
        die "$folder: was begun with $(paste --serial --delimiters=' ' "$noted"); delete it to begin with $*"
}

# FOLDER COMMAND ARGUMENT…: a run of kit/kit that trains into the folder. One that was ended goes on.
train_in() {
    local folder=$1
    shift
    [ ! -f "$folder/final.pt" ] || return 0
    local resume=()
    [ ! -f "$folder/last.pt" ] || resume=(--resume)
    ./kit "$@" --out "$folder" "${resume[@]}"
}

# FILE.tflite CHECKPOINT DATA [OPTION…]: the int8 file of a checkpoint.
quantise_to() {
    local file=$1 checkpoint=$2 pictures=$3
    shift 3
    [ -f "$file" ] || ./kit quantise "$checkpoint" --calibration "$pictures" --split train --pictures 96 --out "$file" "$@"
}
