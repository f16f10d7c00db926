# shellcheck shell=dash
#: about = "peak memory of scene-fast on a Pi with 1 GB, of all processes together, with everything in use: at most 64 MiB"
#: machine = "raspi3b"
#: clock = "real"
#: limit = 480
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/scene-fast" = "models/scene-fast" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

readonly ADDRESS=127.0.0.1:8088

# begin SIZE: the daemon with snapshots, a latency log and a viewer of its stream.
begin() {
    start --model /models/scene-fast/model.tflite --camera v4l2:/dev/video0 --set camera.size="$1" \
        --set http.listen=$ADDRESS --set publish.snapshot.dir=/tmp/pictures --set publish.snapshot.interval=5s \
        --set telemetry.latency_log.path=/tmp/latency.jsonl
    check "masks come at $1" masks 60 20
    busybox wget -q -O /dev/null "http://$ADDRESS/stream.mjpg" &
    viewer=$!
}

# end SIZE PEAK WHAT: what was measured, against the promise.
end() {
    measured "peak-pss-$1" "$(($2 / 1024)) MiB ($2 kB), of all processes, with snapshots, latency log, a viewer$3"
    check "peak memory at $1 is at most 64 MiB" at_most "$2" $((64 * 1024))
    kill $viewer
    stop "the daemon at $1"
    tail -n 9 $LOG
}

peak=0
look() {
    _now=$(pss_kb)
    [ "$_now" -le "$peak" ] || peak=$_now
}

# busybox's own time limit for wget, -T, crashes here.
# Its camera's picture is the largest that predict takes by default.
begin 1920x1080
check "a picture of the camera" timeout 60 busybox wget -q -O /tmp/large.jpg "http://$ADDRESS/api/v1/frame.jpg"
kill $viewer
stop "the daemon at 1920x1080"

begin 640x480
# posted FILE: posts the large picture, and waits with an open end until the answer is in FILE. busybox's wget can't post a zero byte.
posted() {
    rm -f "$1"
    # shellcheck disable=SC2094  # it waits for what the other end writes
    {
        printf 'POST /api/v1/predict HTTP/1.1\r\nHost: %s\r\nContent-Type: image/jpeg\r\nContent-Length: %s\r\n' \
            $ADDRESS "$(wc -c </tmp/large.jpg)"
        printf 'Connection: close\r\n\r\n'
        cat /tmp/large.jpg
        while [ ! -s "$1" ]; do sleep 0.2; done
    } | timeout 60 busybox nc ${ADDRESS%:*} ${ADDRESS#*:} >"$1"
    has '^HTTP/1.1 200 ' "$1"
}
hammer() {
    while :; do
        posted "/tmp/answer-$1" >/dev/null && cp "/tmp/answer-$1" /tmp/posted.http && echo >>/tmp/posted
    done
}
: >/tmp/posted
hammer one &
one=$!
hammer other &
other=$!
started=$(now)
while [ "$(lines /tmp/posted)" -lt 5 ] && [ $(($(now) - started)) -lt $((180 * 100)) ]; do look; done
kill $one $other
measured posted "$(lines /tmp/posted) pictures of 1920x1080"
check "posted pictures are run meanwhile" at_most 3 "$(lines /tmp/posted)"
check "and are what was asked for" has '"width": *1920' /tmp/posted.http
end 640x480 "$peak" ", and pictures of 1920x1080 that are posted one after the other"

peak=0
begin 1280x720
for _ in 1 2 3 4 5 6 7 8 9 10; do
    look
    sleep 1
done
end 1280x720 "$peak" ""
