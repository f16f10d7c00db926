# shellcheck shell=dash
#: about = "peak memory of street-fast on a Pi with 1 GB, of all processes together: at most 64 MiB"
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
    peak=0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        now=$(pss_kb)
        [ "$now" -le "$peak" ] || peak=$now
        sleep 1
    done
    measured peak-pss-$size "$((peak / 1024)) MiB ($peak kB), of all processes, with snapshots"
    check "peak memory at $size is at most 64 MiB" at_most "$peak" $((64 * 1024))
    stop "the daemon at $size"
    tail -n 9 $LOG
done
