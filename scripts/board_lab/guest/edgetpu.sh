# shellcheck shell=dash
# An Edge TPU for scenarios, read after lib.sh: the double of libedgetpu (tests/support/fake-edgetpu), one stick, orders.

readonly CORAL=/opt/coral
readonly STICK=$CORAL/root/sys/bus/usb/devices/1-1 NODE=$CORAL/root/dev/bus/usb/001/011
# shellcheck disable=SC2034  # read by the scenarios
readonly EDGETPU=$CORAL/libedgetpu.so.1
# The orders lie where a worker may read.
export PSPNETD_ROOT=$CORAL/root FAKE_EDGETPU=$CORAL/root/sys/orders

# tell LINE…: new orders for the double, all at once, in place of those before. Without a line all goes well.
tell() {
    printf '%s\n' "$@" >$FAKE_EDGETPU.partial
    mv $FAKE_EDGETPU.partial $FAKE_EDGETPU
}

# plug, unplug: a stick that has its firmware.
plug() {
    mkdir -p $STICK ${NODE%/*}
    echo 9302 >$STICK/idProduct
    echo 1 >$STICK/busnum
    echo 11 >$STICK/devnum
    echo 5000 >$STICK/speed
    echo 18d1 >$STICK/idVendor
    : >$NODE
    chmod 666 $NODE
}
unplug() { rm -r $STICK $NODE; }

# ran ENGINE FROM FILE: behind the first FROM lines is a mask that ENGINE (edgetpu, cpu) made.
ran() { tail -n +$(($2 + 1)) "$3" | grep -q "\"ran\":\"$1\""; }

# workers PROCESS: its children, those that wait to be reaped among them.
workers() { cat /proc/"$1"/task/*/children | xargs; }
is_gone() { [ ! -e "/proc/$1" ]; }

# outcome ATTEMPT RESULT FILE: what the unruly library (tests/support/unruly) said of an attempt.
outcome() { has "tried $1: $2\$" "$3"; }

# sandboxed FILE PROCESS: by the log in FILE the unruly library tried all that is refused in a worker, which is PROCESS.
sandboxed() {
    for _what in fork socket-inet socket-inet6 socket-packet socket-vsock socket-unix socket-thread signal-parent signal-group \
        parents-processors parents-policy parents-priority users-priority parents-limits map-executable make-a-file type \
        type-long paste take-terminal take-console discipline set-key switch-console owner owners-signal owner-ex owner-ioctl \
        group-ioctl outlive own-refusals; do
        check "in a worker, seccomp refuses: $_what" outcome "$_what" EPERM "$1"
    done
    for _what in write-proc list-processes list-root read-passwords read-shadow read-configuration read-a-program kernel-log \
        pseudo-terminal terminal shared-memory; do
        check "in a worker, landlock refuses: $_what" outcome "$_what" EACCES "$1"
    done
    # The unit's /proc doesn't even show what must not be traced.
    for _what in parents-memory parents-environment; do
        check "in a worker, landlock refuses: $_what" outcome "$_what" '\(EACCES\|ENOENT\)' "$1"
    done
    check "a worker may start a thread" outcome thread "done" "$1"
    check "a worker can't gain privileges" has "^NoNewPrivs:[^0-9]*1" "/proc/$2/status"
    check "a worker has a filter" has "^Seccomp:[^0-9]*2" "/proc/$2/status"
}
