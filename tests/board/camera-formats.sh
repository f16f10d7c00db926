# shellcheck shell=dash
#: about = "each format of vivid at 640x480 and 1280x720: rate, colours, padded rows, class areas"
#: machine = "raspi3b"
#: quick = true
#: limit = 420
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

# vivid's 75 % bars: white, yellow, cyan, green, magenta, red, blue, black. Grey is their luma (BT.709).
readonly BARS="191 191 191 191 191 0 0 191 191 0 191 0 191 0 191 191 0 0 0 0 191 0 0 0"
readonly GREYS="191 191 191 177 177 177 150 150 150 137 137 137 54 54 54 41 41 41 14 14 14 0 0 0"

# probe ARGUMENT…: what came, printed and kept.
probe() { v4l2_probe /dev/video0 --rate 30 --row 0.5 "$@" 2>&1 | tee /tmp/probe; }

# 75 frames at 30 fps, nothing corrupt, at most one in twenty late, and then counted as skipped.
rate_is_right() {
    awk '/^frames/ { print; exit !($3 >= 28.5 && $3 <= 31.5 && $6 + 0 <= 4 && $8 + 0 == 0) }' /tmp/probe
}

# rate ARGUMENT…: right in one of three tries. The emulator shares its processors: other work makes vivid late, and that is
# no fault of the program.
rate() {
    for _ in 1 2 3; do
        probe --frames 75 "$@"
        ! rate_is_right || return 0
    done
    return 1
}

# colours_are EXPECTED: each within 4 of 255.
colours_are() {
    sed -n 's/^colours//p' /tmp/probe | sed "s/[],[]//g" | awk -v expected="$1" '
        { print; seen = NF; split(expected, want, " ")
          for (i = 1; i <= 24; i++)
              if ($i < want[i] - 4 || $i > want[i] + 4) { print "value", i, "should be", want[i]; bad = 1 } }
        END { exit bad || seen != 24 }'
}

check "the clock text can be turned off" v4l2-ctl --set-ctrl osd_text_mode=2
for size in 640x480 1280x720; do
    for format in YUYV UYVY NV12 YU12 RGB3 BGR3 GREY; do
        bars=$BARS
        [ $format != GREY ] || bars=$GREYS
        check "$format $size comes at 30 fps" rate --format $format --width ${size%x*} --height ${size#*x}
        grep '^open\|^frames' /tmp/probe
        check "$format $size has the colours of vivid's bars" colours_are "$bars"
    done
done

# Rows with padding behind them, as cameras with alignment rules have.
for spec in "YUYV 1408" "NV12 704" "YU12 768" "RGB3 2048" "GREY 672"; do
    bars=$BARS
    [ "${spec% *}" != GREY ] || bars=$GREYS
    probe --format "${spec% *}" --width 640 --height 480 --stride "${spec#* }" --frames 10
    v4l2-ctl --get-fmt-video >/tmp/set
    check "${spec% *}: the driver pads rows to ${spec#* } bytes" has "Bytes per Line *: ${spec#* }" /tmp/set
    check "${spec% *} with padded rows has the same colours" colours_are "$bars"
done

# The daemon itself, on full bars: each class of the model has an eighth of the picture.
areas_are_eighths() {
    tail -n 1 $MASKS | sed 's/.*"classes":{\([^}]*\)}.*/\1/' | tr ',' '\n' | awk -F : '
        { print; if ($2 < 0.115 || $2 > 0.135) bad = 1 } END { exit bad || NR != 8 }'
}
best_rate() { sed -n 's/.* frames .* fps=\([0-9.]*\) .*/\1/p' $LOG | sort -n | tail -n 1; }
v4l2-ctl --set-ctrl test_pattern=1
for size in 640x480 1280x720; do
    start --model /models/colours/model.tflite --camera v4l2:/dev/video0 --set camera.size=$size
    check "the daemon publishes at $size" masks 30
    sleep 4
    stop "the daemon at $size"
    check "the daemon's areas at $size are those of the bars" areas_are_eighths
    check "the daemon takes 30 frames per second at $size, in its best second" at_least "$(best_rate)" 29
    check "no frame is corrupt at $size" equal "$(total corrupt)/$(total failed)" 0/0
    grep 'end_to_end' $LOG | tail -n 1
done
