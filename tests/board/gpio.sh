# shellcheck shell=dash
#: about = "heartbeat, alarm and button by rppal; levels and modes read back from the chip's registers"
#: machine = "raspi3b"
#: quick = true
#: limit = 300
#: modules = []
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

readonly LED=17 RELAY=27 BUTTON=22
# BCM2837 ARM Peripherals, chapter 6: function select, set, clear and level of pins 0 to 31.
readonly GPIO=$((0x3f200000))

register() { printf '%d' "$(devmem $((GPIO + $1)) 32)"; }
level() { echo $((($(register 0x34) >> $1) & 1)); }
# Ten pins share a register.
# shellcheck disable=SC2017
mode() { echo $((($(register $(($1 / 10 * 4))) >> ($1 % 10 * 3)) & 7)); }
is() { equal "$(level "$1")" "$2"; }
# The emulated chip has no wires: a write to the set or clear register of an input moves its level as a wire would.
drive() { devmem $((GPIO + ($2 ? 0x1c : 0x28))) 32 $((1 << $1)); }
press() {
    drive $BUTTON 0
    sleep 0.3
    drive $BUTTON 1
}
# blinks SECONDS: changes of the LED in that time.
blinks() {
    _until=$(($(now) + $1 * 100))
    _last=$(level $LED)
    _changes=0
    while [ "$(now)" -lt $_until ]; do
        _level=$(level $LED)
        [ "$_level" = "$_last" ] || _changes=$((_changes + 1))
        _last=$_level
        sleep 0.05
    done
    echo $_changes
}
blinks_evenly() { at_least "$1" 7 && at_most "$1" 12; }
modes_are() { equal "$(mode $LED)$(mode $RELAY)" "$1"; }
pictures() { ls /tmp/pictures/*.png; }
with_pins() {
    start --model /models/colours/model.tflite --camera pattern:96x64 --set camera.rate=5 \
        --set gpio.heartbeat=$LED --set gpio.alarm=$RELAY --set gpio.alarm_class=red --set gpio.alarm_active=low \
        --set gpio.alarm_hold=1s --set gpio.button=$BUTTON "$@"
}

drive $BUTTON 1
check "the pins are inputs before" modes_are 00
with_pins --set gpio.button_action=pause
check "the LED's and the relay's pins become outputs" wait_for 20 modes_are 11
check "the relay is switched (active low) while the class is there" wait_for 20 is $RELAY 0
check "the log says so" said "gpio: alarm on"
check "the LED blinks about once a second" blinks_evenly "$(blinks 5)"

press
check "a press pauses the camera" said "camera: paused"
check "the relay lets go in a pause" wait_for 3 is $RELAY 1
before=$(lines $MASKS)
check "the LED stays dark in a pause" equal "$(blinks 3)$(level $LED)" 00
check "no results come in a pause" at_most "$(lines $MASKS)" $((before + 1))
before=$(lines $MASKS)
pressed=$(now)
press
check "a second press goes on within 2 s" wait_for 2 more_than "$before" $MASKS
measured pause-to-mask "$(seconds $(($(now) - pressed))) s"
check "the relay switches again" wait_for 3 is $RELAY 0

stop "the daemon"
check "at SIGTERM the relay lets go, and its pin stays an output" equal "$(level $RELAY)$(mode $RELAY)" 11
check "at SIGTERM the LED goes dark" is $LED 0

with_pins --set gpio.button_action=pause
check "the relay is switched again" wait_for 20 is $RELAY 0
kill -KILL "$PID"
wait "$PID"
check "a SIGKILL leaves the relay as it was" is $RELAY 0
with_pins --set gpio.button_action=pause --set gpio.alarm_above=1
check "the next start lets it go" wait_for 20 is $RELAY 1
stop "the daemon"

mkdir -p /tmp/pictures
with_pins --set gpio.button_action=snapshot --set publish.snapshot.dir=/tmp/pictures --set publish.snapshot.interval=1h
check "the daemon publishes" masks 20 5
wait_for 5 pictures
rm -f /tmp/pictures/*
press
check "a press writes a picture at once, whatever the interval" wait_for 5 pictures
stop "the daemon"

# Nobody but root may use /dev/mem.
chmod 644 $LOG $MASKS
su nobody -s /bin/sh -c "LD_LIBRARY_PATH=/usr/lib/pspnetd timeout 8 pspnetd run --model /models/colours/model.tflite \
    --camera pattern:96x64 --set camera.rate=5 --set gpio.heartbeat=$LED" >/tmp/nobody.masks 2>/tmp/nobody
check "without permission the run goes on" at_least "$(lines /tmp/nobody.masks)" 5
check "and one warning says why" equal "$(grep -c 'WARN.*gpio' /tmp/nobody)" 1
