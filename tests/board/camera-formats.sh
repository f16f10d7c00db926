# shellcheck shell=dash
#: about = "each format of vivid at 640x480 and 1280x720: rate, stride, colours"
#: machine = "raspi3b"
#: quick = true
#: limit = 300
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/colours" = "tests/models/colours" }
. /lab/lib.sh
uname -a
v4l2-ctl --list-formats-ext | head -n 40
v4l2_probe /dev/video0 --format YUYV --width 640 --height 480 --rate 30 --frames 60 --row 0.5
time v4l2_probe /dev/video0 --format YUYV --width 1280 --height 720 --rate 30 --frames 60 --row 0.5
check "it runs" true
start --model /models/colours/model.tflite --camera v4l2:/dev/video0
masks
sleep 5
stop
cat $LOG | tail -n 40
tail -n 1 $MASKS
