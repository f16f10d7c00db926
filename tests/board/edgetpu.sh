# shellcheck shell=dash
#: about = "an Edge TPU (a test double) that aborts, hangs, is unplugged: masks again, no worker left, the worker's sandbox"
#: machine = "raspi3b"
#: quick = true
#: limit = 420
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: [files]
#: "/models/pair" = "tests/models/colours-pair"
#: "/opt/coral/libedgetpu.so.1" = "target/aarch64-debian/doubles/libedgetpu.so.1"
#: "/opt/coral/unruly.so" = "target/aarch64-debian/doubles/unruly.so"
# Three cells of the matrix in tests/edgetpu_faults.rs, on arm64 and with a camera.
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh
# shellcheck source=scripts/board_lab/guest/edgetpu.sh
. /lab/edgetpu.sh

# begin FALLBACK ARGUMENT…: a daemon whose device has made a mask. One thread: the board has more cores than the host.
begin() {
    _fallback=$1
    shift
    start --model /models/pair/model.tflite --camera v4l2:/dev/video0 --set model.threads=1 \
        --set engine.kind=edgetpu --set engine.library=$EDGETPU --set engine.cpu_fallback="$_fallback" "$@"
    check "the device answers" wait_for 30 ran edgetpu 0 $MASKS
}
again() {
    _since=$(now)
    wait_for 10 ran "$1" "$2" $MASKS || fail "masks of $1 again"
    took=$(seconds $(($(now) - _since)))
}
# whole NAME DESCRIPTORS WORKERS: after a fault the device goes on, and nothing more is held than before it. The CPU has a process of
# its own where it takes over.
whole() {
    check "$1: masks go on" masks 10 $(($(lines $MASKS) + 20))
    tail -n 5 $MASKS >/tmp/last
    check "$1: they are the device's" equal "$(grep -c '"ran":"edgetpu"' /tmp/last)" 5
    check "$1: workers, and none that waits to be reaped" equal "$(workers "$PID" | wc -w)" "$3"
    check "$1: no descriptor is left behind" equal "$(descriptors)" "$2"
}
# finish NAME: ends the daemon; every frame is published, replaced by a newer one, or failed.
finish() {
    stop "$1"
    check "$1: no worker is left" eval '! pidof pspnetd'
    _ended=$(($(total published) + $(total replaced) + $(total failed)))
    check "$1: every frame is accounted for" equal "$(total in)" "$_ended"
    check "$1: every published frame has its line" equal "$(total published)" "$(lines $MASKS)"
}

plug
begin true
check "100 frames" masks 60 100
before=$(descriptors) from=$(lines $MASKS)
tell "at invoke" "after 1" "fault abort"
again cpu "$from"
measured abort-to-cpu "$took s from the fault to the CPU's first mask"
check "abort: the CPU's first mask comes within 2 s" at_most "$took" 2
check "abort: the log says what happened and what to do" said "edgetpu 1: .*SIGABRT.*USB transfer error.*cable"
check "abort: the log says who took over" said "SIGABRT.*(the CPU runs the model; next attempt"
from=$(lines $MASKS)
tell
again edgetpu "$from"
measured abort-to-device "$took s from the fault's end to the device's first mask"
check "abort: the device's first mask comes within 2 s of the fault's end" at_most "$took" 2
whole abort "$before" 2
finish abort

begin true
before=$(descriptors) from=$(lines $MASKS)
tell "at invoke" "after 1" "fault hang"
again cpu "$from"
measured hang-to-cpu "$took s from the fault to the CPU's first mask, 0.5 s of it the deadline"
check "hang: the CPU's first mask comes within 2 s" at_most "$took" 2
check "hang: the log says what happened" said "edgetpu 1: no answer"
from=$(lines $MASKS)
tell
again edgetpu "$from"
measured hang-to-device "$took s from the fault's end to the device's first mask"
check "hang: the device's first mask comes within 2 s of the fault's end" at_most "$took" 2
whole hang "$before" 2
finish hang

begin false
before=$(descriptors)
unplug
check "unplugged: the log says what happened" said "edgetpu 1: .*SIGABRT.*It is unplugged, or without power"
check "unplugged: the log says what becomes of frames" said "edgetpu 1: .*(no masks meanwhile; next attempt in"
# As long as a hand needs.
sleep 1.5
from=$(lines $MASKS)
plug
again edgetpu "$from"
measured plugged-to-device "$took s from the stick's return to its first mask"
check "unplugged: the first mask comes within 2 s of its return" at_most "$took" 2
check "unplugged: the CPU made none" has_not '"ran":"cpu"' $MASKS
whole unplugged "$before" 1
finish unplugged

# What a worker may not do is tried from within one, also with files that this board lacks.
: >/etc/shadow
: >/etc/hostname
export LD_PRELOAD=$CORAL/unruly.so UNRULY="try-refused 9"
tell "debug 1"
begin false --set log.level=debug
unset LD_PRELOAD UNRULY
check "the library has tried all that is refused" said "tried thread"
sandboxed $LOG "$(workers "$PID")"
check "the log has what a worker says at debug" has "fake_edgetpu.c" $LOG
check "nothing of a worker's sandbox is missing on this kernel" has_not "sandbox: " $LOG

# A worker that hangs in its device hears of nothing.
worker=$(workers "$PID")
tell "at invoke" "fault hang"
sleep 0.2
killed=$(now)
kill -KILL "$PID"
wait "$PID"
check "a daemon that is killed leaves no worker" wait_for 2 is_gone "$worker"
measured killed-to-worker-gone "$(seconds $(($(now) - killed))) s"
check "nor anything else" eval '! pidof pspnetd'
