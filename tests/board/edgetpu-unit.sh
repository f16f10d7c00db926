# shellcheck shell=dash
#: about = "an Edge TPU (a test double) under the package's unit: a worker starts, keeps its sandbox, dies, comes back"
#: machine = "virt"
#: root = "debian"
#: clock = "real"
#: package = true
#: limit = 300
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: [files]
#: "/opt/coral/pair" = "tests/models/colours-pair"
#: "/opt/coral/libedgetpu.so.1" = "target/aarch64-debian/doubles/libedgetpu.so.1"
#: "/opt/coral/unruly.so" = "target/aarch64-debian/doubles/unruly.so"
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh
# shellcheck source=scripts/board_lab/guest/edgetpu.sh
. /lab/edgetpu.sh

readonly RESULTS=/var/lib/pspnetd/masks.jsonl JOURNAL=/tmp/journal
# Of the unit's present run.
journal() {
    journalctl "_SYSTEMD_INVOCATION_ID=$(property InvocationID)" --output=cat --no-pager >$JOURNAL
}
in_journal() { journal && has "$1" $JOURNAL; }
main() { property MainPID; }

plug
tell "debug 1"
check "the package installs" dpkg --install /lab/pspnetd.deb
check "the service stops" systemctl stop $UNIT
# All the unit's limits hold for the worker. The double's nodes are files, and those of /opt are read-only in the unit.
mkdir -p /etc/systemd/system/$UNIT.d
cat >/etc/systemd/system/$UNIT.d/double.conf <<DROP_IN
[Service]
Environment=PSPNETD_ROOT=$PSPNETD_ROOT FAKE_EDGETPU=$FAKE_EDGETPU
Environment=LD_PRELOAD=$CORAL/unruly.so "UNRULY=try-refused 9"
ReadWritePaths=$PSPNETD_ROOT/dev
DROP_IN
printf '[log]\nlevel = "debug"\n' >>/etc/pspnetd/pspnetd.toml
sed -i -e "s,^path = .*tflite.*,path = \"$CORAL/pair/model.tflite\"," \
    -e "s,^\\[engine\\]$,&\nkind = \"edgetpu\"\nlibrary = \"$EDGETPU\"\ncpu_fallback = false," /etc/pspnetd/pspnetd.toml
systemctl daemon-reload
rm -f $RESULTS
systemctl start --no-block $UNIT
check "the device's masks come" wait_for 60 ran edgetpu 0 $RESULTS
check "it is active with them" wait_for 10 is_state active/running
check "by a worker" equal "$(workers "$(main)" | wc -w)" 1
check "the library has tried all that is refused" wait_for 20 in_journal "tried thread"
sandboxed $JOURNAL "$(workers "$(main)")"
check "the journal has what a worker says at debug" has "fake_edgetpu.c" $JOURNAL
check "nothing of the worker's sandbox is missing in the unit" has_not "sandbox: " $JOURNAL

worker=$(workers "$(main)")
tell "at invoke" "after 1" "fault abort"
check "an abort is told" wait_for 10 in_journal "edgetpu 1: .*SIGABRT"
tell
ended=$(now)
check "the device's masks come again" wait_for 20 ran edgetpu "$(lines $RESULTS)" $RESULTS
measured abort-to-device "$(seconds $(($(now) - ended))) s from the fault's end to the device's first mask"
check "the service itself went on" equal "$(property NRestarts)" 0
check "the aborted worker is gone" is_gone "$worker"
status_tells() { property StatusText | grep 'engine: edgetpu'; }
check "the status tells what runs" wait_for 10 status_tells

worker=$(workers "$(main)")
systemctl kill --kill-whom=main --signal=KILL $UNIT
check "a killed service leaves no worker" wait_for 2 is_gone "$worker"
check "it is started again, with a worker" wait_for 60 ran edgetpu "$(lines $RESULTS)" $RESULTS
check "it stops" systemctl stop $UNIT
check "no process is left" eval '! pidof pspnetd'
