# shellcheck shell=dash
#: about = "10 minutes of 30 frames per second with street-fast and a fault every few seconds: memory flat, all counted"
#: machine = "raspi3b"
#: clock = "real"
#: limit = 900
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/street-fast" = "models/street-fast" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh


newer_than() { [ "$(tail -n 1 $MASKS)" != "$1" ]; }

readonly MINUTES=10
start --model /models/street-fast/model.tflite --camera v4l2:/dev/video0 --set telemetry.interval=30s \
    --set publish.jsonl.max_bytes=256KiB
check "masks come" masks 60 3
begin=$(now)
end=$((begin + MINUTES * 6000))
injected=0
lost=0
baseline=
while [ "$(now)" -lt $end ]; do
    case $((injected % 8)) in
    0) fault=disconnect=1 ;;
    1) fault=inject_v4l2_buf_flag_error=1 ;;
    2) fault=inject_vidioc_qbuf_error=1 ;;
    3) fault=percentage_of_dropped_buffers=30 ;;
    4) fault=percentage_of_dropped_buffers=0 ;;
    5) fault=inject_fatal_streaming_error=1 ;;
    6) fault=inject_vidioc_streamon_error=1 ;;
    7) fault=disconnect=1 ;;
    esac
    v4l2-ctl -d /dev/video0 --set-ctrl "$fault" || echo "not injected: $fault"
    injected=$((injected + 1))
    sleep 3
    # The file is rotated, so its length says nothing: the newest line must change.
    wait_for 10 newer_than "$(tail -n 1 $MASKS)" || lost=$((lost + 1))
    if [ -z "$baseline" ] && [ "$(now)" -gt $((begin + 6000)) ]; then
        baseline=$(memory_kb VmRSS)
        descriptors_before=$(descriptors)
        mappings_before=$(mappings)
    fi
done
echo "resident $baseline kB after a minute, $(memory_kb VmRSS) kB at the end; faults $injected"
check "every fault was survived" equal "$lost" 0
check "at least 80 faults" at_least $injected 80
check "memory is flat" at_most "$(memory_kb VmRSS)" $((baseline + 1024))
check "no descriptor is left behind" at_most "$(descriptors)" "$descriptors_before"
check "no mapping is left behind" at_most "$(mappings)" $((mappings_before + 2))
measured faults "$injected in $MINUTES minutes"
measured resident "$baseline kB after one minute, $(memory_kb VmRSS) kB after $MINUTES"
stop "the daemon"
check "error-flagged buffers were counted" at_least "$(total corrupt)" $((injected / 8))
check "dropped buffers were counted" at_least "$(total skipped)" 20
tail -n 9 $LOG
