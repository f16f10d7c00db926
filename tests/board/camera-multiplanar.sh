# shellcheck shell=dash
#: about = "a multi-planar device is refused with its reason, and passed over by auto; missing and foreign nodes are named"
#: machine = "raspi3b"
#: limit = 240
#: modules = ["vivid n_devs=2 node_types=0x1,0x1 multiplanar=2,1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

tried() { pspnetd check --model /models/colours/model.tflite --camera "$1" >/tmp/tried 2>&1; }

pspnetd devices | tee /tmp/devices
check "devices tells the multi-planar one and why it can't be used" has "/dev/video0 .*multi-planar" /tmp/devices
check "devices tells the usable one" has "/dev/video1 .*usable" /tmp/devices
tried v4l2:/dev/video0
check "a multi-planar device by name ends check with 69" equal $? 69
check "its refusal says why" has "multi-planar" /tmp/tried
tried v4l2:/dev/video7
check "a missing device ends check with 69" equal $? 69
check "its message names it" has "/dev/video7" /tmp/tried
tried v4l2:/dev/null
check "a node that is no camera ends check with 69" equal $? 69
check "its message says so" has "/dev/null: .*no V4L2 device" /tmp/tried
start --model /models/colours/model.tflite --camera auto
check "auto passes over the multi-planar one" masks 30
check "and takes the other" has "camera: /dev/video1" $LOG
stop "the daemon"
chmod 600 /dev/video1
su nobody -s /bin/sh -c "pspnetd check --model /models/colours/model.tflite --camera v4l2:/dev/video1" >/tmp/tried 2>&1
check "without permission check ends with 69" equal $? 69
check "and says what to do" has "Permission denied.*group" /tmp/tried
