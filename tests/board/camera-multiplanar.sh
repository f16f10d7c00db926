# shellcheck shell=dash
#: about = "a multi-planar device is read like another; missing and foreign nodes are named"
#: machine = "raspi3b"
#: limit = 240
#: modules = ["vivid n_devs=2 node_types=0x1,0x1 multiplanar=2,1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

tried() { pspnetd check --model /models/colours/model.tflite --camera "$1" >/tmp/tried 2>&1; }

pspnetd devices | tee /tmp/devices
check "devices tells that the multi-planar one is usable" has "/dev/video0 .*usable" /tmp/devices
check "and which formats take several pieces of memory" has "NM12 .*not taken" /tmp/devices
check "devices tells the single-planar one" has "/dev/video1 .*usable" /tmp/devices
tried v4l2:/dev/video0
check "a multi-planar device by name can be used" equal $? 0
tried v4l2:/dev/video7
check "a missing device ends check with 69" equal $? 69
check "its message names it" has "/dev/video7" /tmp/tried
tried v4l2:/dev/null
check "a node that is no camera ends check with 69" equal $? 69
check "its message says so" has "/dev/null: .*no V4L2 device" /tmp/tried
start --model /models/colours/model.tflite --camera v4l2:/dev/video0
check "the multi-planar one sends frames" masks 30
check "and is the one that was named" has "camera: /dev/video0" $LOG
stop "the daemon"
chmod 600 /dev/video1
su nobody -s /bin/sh -c "pspnetd check --model /models/colours/model.tflite --camera v4l2:/dev/video1" >/tmp/tried 2>&1
check "without permission check ends with 69" equal $? 69
check "and says what to do" has "Permission denied.*group" /tmp/tried
