# shellcheck shell=dash
#: about = "power, temperature and throttling by the kernel's own drivers: an INA219, an LTC4151, a TMP105, the Pi's own"
#: machine = "raspi3b"
#: limit = 420
#: modules = ["bcm2835_thermal", "vhci_hcd", "i2c-tiny-usb", "i2c-dev", "ina2xx-adc", "lm75", "ltc4151"]
#: [files]
#: "/models/colours" = "tests/models/colours"
#: "/usr/bin/usb_i2c" = "target/aarch64-debian/aarch64-unknown-linux-gnu/release/examples/usb_i2c"
# The I2C bus is examples/usb_i2c at the kernel's virtual USB host: its chips are registers with values that this script sets.
# Adapter driver, I2C core and the chips' drivers (ina2xx-adc under IIO, ltc4151 and lm75 under hwmon) are those of a board.
# Debian's arm64 kernel has no ina2xx of the hwmon kind, and the emulated firmware no clock for raspberrypi-cpufreq and no
# throttle word: those are tested on recorded trees only.
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

mkfifo /tmp/i2c
exec 3<>/tmp/i2c
usb_i2c <&3 >/tmp/i2c.log 2>&1 &
bus() {
    echo "$*" >&3
    wait_for 10 has "done: $*" /tmp/i2c.log
}
adapter() { grep -l tiny /sys/bus/i2c/devices/i2c-*/name | sed 's/.name$//'; }
has_adapter() { [ -n "$(adapter)" ]; }
# lists PATTERN ARGUMENT...: a line of `pspnetd devices`.
lists() {
    _pattern=$1
    shift
    pspnetd devices "$@" >/tmp/devices && has "$_pattern" /tmp/devices
}

check "the board's own thermal zone is the processor's temperature" lists '^temperature soc (thermal zone cpu-thermal): [0-9.]* °C'

# 5.100 V: 1275 times 4 mV, above three flags. 0.800 A and 4.080 W at 1 mA and 20 mW.
bus set 40 00 399f
bus set 40 01 0320
bus set 40 02 27da
bus set 40 03 00cc
bus set 40 04 0320
bus set 40 05 0000
# 12.000 V: 480 times 25 mV; 0.500 A: 25 times 20 mA. Both twelve bits at the upper end of two registers.
for pair in "00 01" "01 90" "02 1e" "03 00" "04 00" "05 00" "06 00"; do bus set 6f "${pair% *}" "${pair#* }"; done
# 23.5 °C
bus set 48 00 1780
bus set 48 01 00
bus plug
check "the adapter is there" wait_for 20 has_adapter
ADAPTER=$(adapter)
NUMBER=${ADAPTER##*-}
new() { echo "$1" >"$ADAPTER/new_device"; }
check "the INA219's driver takes it" new "ina219 0x40"
check "the LTC4151's driver takes it" new "ltc4151 0x6f"
check "the TMP105's driver takes it" new "tmp105 0x48"

check "the INA219 is listed with its values" \
    lists "^power rail ina219@$NUMBER-0040 (iio ina219): 5.100 V, 0.800 A, 4.080 W; in the total"
check "the LTC4151 is listed, not counted" lists "^power rail ltc4151@$NUMBER-006f (hwmon ltc4151): 12.000 V, 0.500 A, 6.000 W$"
check "the TMP105 is listed" lists "^temperature tmp105@$NUMBER-0048 (hwmon tmp105): 23.5 °C"
check "power_rails makes the other chip the total" \
    lists "^power rail ltc4151.*; in the total" --set "telemetry.power_rails=ltc4151@$NUMBER-006f"
sed 's/^/    | /' /tmp/devices

# What a chip says later is shown later.
bus set 40 04 0640
bus set 40 03 0198
bus set 48 00 e700
check "a new current is seen" lists "1.600 A, 8.160 W; in the total"
check "a temperature below zero is seen" lists "^temperature tmp105@$NUMBER-0048 (hwmon tmp105): -25.0 °C"

# A chip that answers no more.
bus remove 40
check "a chip without an answer has no values" lists "^power rail ina219@$NUMBER-0040 (iio ina219): not readable: .*in_.*_raw: "

# The whole bus is unplugged, and comes back.
bus unplug
has_none() { pspnetd devices >/tmp/devices && has_not "@$NUMBER-" /tmp/devices; }
check "an unplugged bus takes its sensors with it" wait_for 20 has_none
