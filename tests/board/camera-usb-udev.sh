# shellcheck shell=dash
#: about = "a USB camera under a real udev: links by its serial number, unplugged and plugged in"
#: machine = "virt"
#: root = "debian"
#: clock = "real"
#: limit = 400
#: modules = ["uvcvideo", "vhci_hcd"]
#: [files]
#: "/models/colours" = "tests/models/colours"
#: "/usr/bin/usb_camera" = "target/aarch64-debian/aarch64-unknown-linux-gnu/release/examples/usb_camera"
# The camera is that of camera-usb.sh. Here udev makes its links.
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

readonly LINK=/dev/v4l/by-id/usb-pspnetd_Board_lab_camera_0001-video-index0
mkfifo /tmp/usb
usb_camera <>/tmp/usb >/tmp/camera.log &
away() { [ ! -e $LINK ]; }
waits() { grep -c 'the camera was unplugged' $LOG; }
waits_more() { [ "$(waits)" -gt "$1" ]; }

echo plug >/tmp/usb
check "udev names the camera by its serial number" wait_for 30 test -e $LINK
check "the camera is /dev/video0" equal "$(readlink -f $LINK)" /dev/video0
pspnetd devices >/tmp/devices
check "the camera is listed by its stable name" has "${LINK##*/}" /tmp/devices

# More threads than the emulator's host has free cores would spin.
start --model /models/colours/model.tflite --set model.threads=1 --camera v4l2:/dev/video0 --set camera.format=MJPG \
    --set camera.rate=15
check "frames come" masks 30
check "the daemon knows the stable name" has "camera: .*; stable name $LINK" $LOG
for round in $(seq 6); do
    expected=/dev/video0
    if [ $((round % 2)) = 0 ]; then
        # Who holds the node open keeps its number from the camera's return.
        exec 3</dev/video0
        expected=/dev/video1
    fi
    waits=$(waits)
    echo unplug >/tmp/usb
    check "round $round: unplugging is noticed" wait_for 20 waits_more "$waits"
    check "round $round: udev removes the link" wait_for 20 away
    before=$(lines $MASKS)
    echo plug >/tmp/usb
    check "round $round: frames come when it is back" masks 30 "$before"
    check "round $round: udev makes the link" wait_for 20 test -e $LINK
    check "round $round: it has the number that is free" equal "$(readlink -f $LINK)" $expected
    if [ $expected = /dev/video1 ]; then
        grep 'camera: /dev/' $LOG | tail -n 1 >/tmp/opened
        check "round $round: the daemon found it by the link" has "camera: $LINK .*; this name is stable" /tmp/opened
        exec 3<&-
    fi
done
right() { tail -n 2 $MASKS | head -n 1 | grep -E '"red":0\.(49|5)[0-9]*,"green":0\.33[0-9]*,"blue":0\.1[67]'; }
check "the stripes are where the camera drew them" right
stop "the daemon"
