#!/usr/bin/env bash
# Compiles a TFLite model for the Edge TPU and says in short what the compiler did with it.
#
# Usage: kit/compile_edgetpu.sh [OPTION…] MODEL.tflite
#
# The options go to edgetpu_compiler as they are, for example --out_dir DIR (the current directory otherwise) or
# --min_runtime_version 14. A compiled file that lands beside the model is written into the section [edgetpu] of the model's
# manifest, so that pspnetd holds it to its digest. Where there is no edgetpu_compiler, check_edgetpu.py judges the model by
# the documented rules instead (PYTHON names the interpreter that has its packages; otherwise that of kit/setup,
# else python3).
#
# Exit status: 0 compiled, every operator on the Edge TPU; 1 some operators run on the CPU; 2 wrong arguments or an
# unreadable model; 3 nothing was compiled: the compiler failed, or there is none and the rules have nothing against it.

set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

readonly DOCUMENTATION=https://coral.ai/docs/edgetpu/compiler/

refuse() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 2
}

# value LABEL: what stands behind "LABEL: " in the compiler's report; nothing where it says nothing about it.
value() { sed -n "s/^$1: *//p" "$report" | head -n 1; }

# Prints "OPERATOR xCOUNT: STATUS" for the lines of the operator table that are not mapped.
left_to_cpu() {
    sed -nE 's/^([A-Za-z0-9_-]+) +([0-9]+) +(.+)$/\1 x\2: \3/p' "$@" | grep -v ': Mapped to Edge TPU *$' | sort -u || true
}

# Names the compiled file in the manifest of the model, in place of an earlier one. Nothing else in the manifest changes.
note_in_manifest() {
    local compiled=$1 folder name manifest
    folder=$(dirname "$model")
    name=$(basename "$compiled")
    if [ ! "$(dirname "$compiled")" -ef "$folder" ]; then
        printf '  pspnetd looks for it beside the model: %s\n' "$folder/"
        return 0
    fi
    manifest=${model%.*}.toml
    [ -f "$manifest" ] || manifest=$folder/manifest.toml
    [ -f "$manifest" ] || return 0
    # What the manifest says of another model stays as it is.
    if ! awk -v name="$(basename "$model")" '
        /^[ \t]*\[/ { section = $1 }
        section == "[file]" && /^[ \t]*path[ \t]*=/ {
            said = 1
            own = index($0, "\"" name "\"") || index($0, "\047" name "\047")
        }
        END { exit own || !said ? 0 : 1 }' "$manifest"; then
        printf '  %s describes another model: it was left as it is\n' "$manifest"
        return 0
    fi
    case $name in
    *[\"\\]* | *[[:cntrl:]]*)
        printf "  %s can't name a file with such letters: rename it\n" "$manifest"
        return 0
        ;;
    esac
    manifest=$(readlink -f "$manifest")
    cp -p "$manifest" "$manifest.new"
    {
        awk '/^[ \t]*\[/ { skip = $1 == "[edgetpu]" } !skip' "$manifest" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
        printf '\n[edgetpu]\npath = "%s"\nsha256 = "%s"\n' "$name" "$(sha256sum "$compiled" | cut -d ' ' -f 1)"
    } >"$manifest.new"
    mv "$manifest.new" "$manifest"
    printf '  named in %s\n' "$manifest"
}

compile() {
    local compiled log total on_tpu on_cpu
    if ! edgetpu_compiler -s "$@" >"$report" 2>&1 || [ -z "$(value 'Output model')" ]; then
        cat "$report" >&2
        printf '%s: edgetpu_compiler failed, see above\n' "$(basename "$0")" >&2
        exit 3
    fi
    compiled=$(value 'Output model')
    log=$(value 'Operation log')
    total=$(value 'Total number of operations')
    # The compiler counts both sides only where there is something on the CPU.
    on_tpu=$(value 'Number of operations that will run on Edge TPU')
    on_cpu=$(value 'Number of operations that will run on CPU')
    printf '%s: %s of %s operators on the Edge TPU (subgraphs: %s)\n' \
        "$compiled" "${on_tpu:-$total}" "$total" "$(value 'Number of Edge TPU subgraphs')"
    printf '  parameters: %s on the chip, %s left there, %s streamed on every run\n' \
        "$(value 'On-chip memory used for caching model parameters')" \
        "$(value 'On-chip memory remaining for caching model parameters')" \
        "$(value 'Off-chip memory used for streaming uncached model parameters')"
    [ ! -f "$compiled" ] || note_in_manifest "$compiled"
    [ "${on_cpu:-0}" != 0 ] || return 0
    printf '  on the CPU: %s operators\n' "$on_cpu"
    { if [ -f "$log" ]; then left_to_cpu "$report" "$log"; else left_to_cpu "$report"; fi; } | sed 's/^/    /'
    exit 1
}

judge_by_rules() {
    local status=0 python=$ROOT/.train/bin/python
    [ -x "$python" ] || python=python3
    say "there is no edgetpu_compiler here: it is a Debian package for x86-64 in Coral's apt repository, see $DOCUMENTATION"
    say "judging by the documented rules instead"
    "${PYTHON:-$python}" "$(dirname "${BASH_SOURCE[0]}")/check_edgetpu.py" "$model" || status=$?
    [ "$status" = 0 ] || exit "$status"
    say "nothing was compiled"
    exit 3
}

case ${1-} in
"" | -h | --help)
    usage
    exit 0
    ;;
esac
model=${!#}
[ -f "$model" ] || refuse "'$model' is no file; the last argument must be the model (see --help)"
[ -r "$model" ] || refuse "$model: can't be read"

if ! have edgetpu_compiler; then
    judge_by_rules
fi
report=$(mktemp)
trap 'rm -f "$report"' EXIT
compile "$@"
