# shellcheck shell=dash
#: about = "50 disconnects of one run, 50 openings of one process: no descriptor, no mapping, no memory left behind"
#: machine = "raspi3b"
#: limit = 420
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

opens() { grep -c 'INFO.*camera: /dev/' $LOG; }
opened_more_than() { [ "$(opens)" -gt "$1" ]; }

start --model /models/colours/model.tflite --camera v4l2:/dev/video0
check "the daemon publishes" masks 30 30
slowest=0
round=0
while [ $round -lt 51 ]; do
    # The first round maps what the allocator keeps for good.
    if [ $round -eq 1 ]; then
        descriptors_before=$(descriptors)
        mappings_before=$(mappings)
        resident_before=$(memory_kb VmRSS)
    fi
    before=$(opens)
    at=$(now)
    v4l2-ctl -d /dev/video0 --set-ctrl disconnect=1
    if ! wait_for 10 opened_more_than "$before" || ! new_masks 5; then
        fail "round $round: the camera came back"
        break
    fi
    took=$(($(now) - at))
    [ $took -le $slowest ] || slowest=$took
    round=$((round + 1))
done
check "50 rounds" equal $round 51
check "each was over within 2 s" at_most "$(seconds $slowest)" 2
measured slowest-of-50-reopens "$(seconds $slowest) s from disconnect to the next mask"
echo "descriptors $descriptors_before -> $(descriptors), mappings $mappings_before -> $(mappings)," \
    "resident $resident_before -> $(memory_kb VmRSS) kB"
check "no descriptor is left behind" equal "$(descriptors)" "$descriptors_before"
check "no mapping is left behind" at_most "$(mappings)" $((mappings_before + 2))
check "no memory is left behind" at_most "$(memory_kb VmRSS)" $((resident_before + 1024))
stop "the daemon"

v4l2_probe /dev/video0 --rounds 50 --rate 60 --width 320 --height 180 2>/dev/null | tee /tmp/rounds
# shellcheck disable=SC2016  # awk's fields
check "50 openings in one process leave nothing" awk '/^rounds 50/ { exit !($4 + 0 == $6 + 0 && $8 == $10) }' /tmp/rounds
