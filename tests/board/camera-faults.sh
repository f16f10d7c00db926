# shellcheck shell=dash
#: about = "each fault that vivid can inject, a disconnect, a busy device: frames again, counted, nothing leaked"
#: machine = "raspi3b"
#: quick = true
#: limit = 420
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

inject() { v4l2-ctl -d /dev/video0 --set-ctrl "$1"; }

# stamps: the times of lines on standard input, in seconds of the day.
stamps() {
    sed -n 's/.*T\([0-9][0-9]\):\([0-9][0-9]\):\([0-9.]*\)Z.*/\1 \2 \3/p' | awk '{ print $1 * 3600 + $2 * 60 + $3 }'
}

# recovers FAULT NAME: from the last failure that the log tells to the next mask it takes less than 2 s.
recovers() {
    _before=$(lines $MASKS)
    inject "$1"
    sleep 0.3
    # What was under way before the fault doesn't count.
    check "$2: the stream goes on" masks 10 $((_before + 12))
    _failed=$(grep 'camera: waiting' $LOG | stamps | tail -n 1)
    _took=$(stamps <$MASKS | awk -v failed="$_failed" '$1 > failed { print $1 - failed; exit }')
    check "$2: the first mask comes within 2 s" at_most "${_took:-99}" 2
    measured "$2" "$_took s from the last failure to the first mask"
}


v4l2-ctl --set-ctrl osd_text_mode=2 >/dev/null
start --model /models/colours/model.tflite --camera v4l2:/dev/video0
check "the daemon publishes" masks 30 30
descriptors_before=$(descriptors)
mappings_before=$(mappings)

recovers disconnect=1 disconnect
check "disconnect: the log says what happened" said "camera: waiting: .*unplugged"
recovers inject_fatal_streaming_error=1 fatal-streaming-error
check "fatal streaming error: the log says what happened" said "camera: waiting: .*VIDIOC_DQBUF"
recovers inject_vidioc_qbuf_error=1 qbuf-error
check "QBUF error: the log says what happened" said "camera: waiting: .*VIDIOC_QBUF"
# These strike at the next opening, which a disconnect brings about.
inject inject_vidioc_reqbufs_error=1
recovers disconnect=1 reqbufs-error
check "REQBUFS error: the log says what happened" said "camera: waiting: .*VIDIOC_REQBUFS"
inject inject_vidioc_streamon_error=1
recovers disconnect=1 streamon-error
check "STREAMON error: the log says what happened" said "camera: waiting: .*VIDIOC_STREAMON"
inject inject_v4l2_buf_flag_error=1
check "an error-flagged buffer is said" said "camera: frame skipped: .*V4L2_BUF_FLAG_ERROR"
check "an error-flagged buffer costs no stream" new_masks 2
inject percentage_of_dropped_buffers=40
sleep 3
inject percentage_of_dropped_buffers=0
check "dropped buffers cost no stream" new_masks 2
inject wrap_sequence_number=1
sleep 2
check "a sequence number that wraps costs no stream" new_masks 2
inject wrap_sequence_number=0

check "no descriptor is left behind" equal "$(descriptors)" "$descriptors_before"
check "no mapping is left behind" at_most "$(mappings)" $((mappings_before + 2))

# A second program at the same device.
pspnetd run --camera v4l2:/dev/video0 --model /models/colours/model.tflite >/tmp/second.masks 2>/tmp/second &
second=$!
check "a busy device is named, with who has it" wait_for 10 has "camera: waiting: .*[Bb]usy.*$PID" /tmp/second
stop "the first daemon"
first_gone=$(now)
check "the second gets it when the first ends" wait_for 5 more_than 0 /tmp/second.masks
measured busy-then-free "$(seconds $(($(now) - first_gone))) s"
PID=$second stop "the second daemon"

check "the error-flagged buffer was counted" at_least "$(total corrupt)" 1
check "the dropped buffers were counted" at_least "$(total skipped)" 15
check "the camera was opened once more for each loss" equal "$(grep -c 'INFO.*camera: /dev/' $LOG)" 6
