# shellcheck shell=dash
#: about = "peak memory of street-fast on a Pi with 1 GB: at most 64 MiB"
#: machine = "raspi3b"
#: clock = "real"
#: limit = 300
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/street-fast" = "models/street-fast" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

for size in 640x480 1280x720; do
    start --model /models/street-fast/model.tflite --camera v4l2:/dev/video0 --set camera.size=$size \
        --set publish.snapshot.dir=/tmp/pictures --set publish.snapshot.interval=5s
    check "masks come at $size" masks 60 20
    peak=$(memory_kb VmHWM)
    measured peak-rss-$size "$((peak / 1024)) MiB ($peak kB), with snapshots"
    check "peak memory at $size is at most 64 MiB" at_most "$peak" $((64 * 1024))
    stop "the daemon at $size"
    tail -n 9 $LOG
done
