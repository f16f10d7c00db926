# shellcheck shell=dash
#: about = "the package's unit under a real systemd: READY, SIGKILL, watchdog, journal levels, stop"
#: machine = "virt"
#: root = "debian"
#: clock = "real"
#: package = true
#: quick = true
#: limit = 480
#: modules = ["vivid n_devs=1 node_types=0x1"]
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

readonly RESULTS=/var/lib/pspnetd/masks.jsonl

results() { lines $RESULTS 2>/dev/null || echo 0; }
more_results() { [ "$(results)" -gt "$1" ]; }
journal() { journalctl --unit=$UNIT --output=cat --no-pager >/tmp/journal; }
in_journal() { journal && has "$1" /tmp/journal; }
# A date as systemd or the results print it, in seconds.
epoch() { date --date="$(echo "$1" | tr TZ '  ') UTC" +%s.%N; }

check "the package installs" dpkg --install /lab/pspnetd.deb
installed=$(now)
check "the service becomes active by itself" wait_for 90 is_state active/running
measured install-to-active "$(seconds $(($(now) - installed))) s"
journal
check "READY comes after the first mask" at_most "$(epoch "$(head -n 1 $RESULTS | cut -d '"' -f 4)")" \
    "$(epoch "$(property ActiveEnterTimestamp | sed 's/^[A-Za-z]* //; s/ UTC$//')")"
status_tells() { property StatusText | grep 'fps.*camera: /dev/'; }
check "the status tells what it does" wait_for 10 status_tells
systemctl status --no-pager $UNIT

fetched() { busybox wget -q -O - "http://127.0.0.1:8088$1" >/tmp/fetched && has "$2" /tmp/fetched; }
check "the page is there" fetched / '<title>'
check "and the camera's picture" fetched /api/v1/overlay.jpg JFIF
check "and metrics" fetched /metrics '^pspnetd_ready 1'
pspnetd top --once >/tmp/top
check "top finds the daemon" has '^ready: yes' /tmp/top

# killed HOW: from the loss of the process to the next result.
results_again() {
    _before=$(results)
    _start=$(now)
    wait_for "$2" more_results "$_before" || fail "$1: results again"
    measured "$1" "$(seconds $(($(now) - _start))) s to the next result"
}

restarts=$(property NRestarts)
systemctl kill --signal=KILL $UNIT
results_again SIGKILL 30
check "a killed process is started again" equal "$(property NRestarts)" $((restarts + 1))
check "and is active again" wait_for 10 is_state active/running

# All of it stopped: systemd misses the watchdog's message.
main=$(property MainPID)
kill -STOP "$main"
results_again SIGSTOP 90
check "a stopped process is replaced by the watchdog" in_journal "Watchdog timeout"
check "by a new one" [ "$(property MainPID)" != "$main" ]
check "and is active again" wait_for 10 is_state active/running

# One stage hangs, everything else goes on: the infer thread waits ten minutes before it looks whether its worker has answered. It
# holds no lock then, as it may in a futex call.
watchdog_times() { journal && grep -c 'Watchdog timeout' /tmp/journal; }
watchdog_more_than() { [ "$(watchdog_times)" -gt "$1" ]; }
main=$(property MainPID)
thread=$(grep -l '^infer' /proc/"$main"/task/*/comm | cut -d / -f 5)
check "there is an infer thread" [ -n "$thread" ]
before=$(watchdog_times)
strace -qq -o /dev/null -p "$thread" -e trace=ppoll -e inject=ppoll:delay_enter=600s &
tracer=$!
check "a hanging stage is ended by the watchdog" wait_for 90 watchdog_more_than "$before"
# A traced process can't end.
kill -KILL $tracer
results_again hanging-stage-after-watchdog 30
check "the log named the stage before" in_journal "the infer stage hangs"
check "and is active again" wait_for 10 is_state active/running

# Priorities: as the program meant them, without the prefix that carries them.
journalctl --unit=$UNIT --output=json --no-pager >/tmp/json
grep '"MESSAGE":"model: ' /tmp/json >/tmp/information
check "each start says what model runs" at_least "$(lines /tmp/information)" 4
check "information is level 6" equal "$(grep -c '"PRIORITY":"6"' /tmp/information)" "$(lines /tmp/information)"
v4l2-ctl -d /dev/video0 --set-ctrl disconnect=1
check "a camera that leaves is a warning, level 4" wait_for 10 eval \
    'journalctl --unit=pspnetd --priority=warning --output=cat | grep "camera: waiting"'
check "no prefix is left in a message" has_not '"MESSAGE":"<[0-7]>' /tmp/json

# Without a pipe, whose status would be that of its last program.
check "the unit in place is rated at most 1.5" systemd-analyze security --threshold=15 --no-pager $UNIT
systemd-analyze security --no-pager $UNIT | tail -n 1

asked=$(now)
check "it stops" systemctl stop $UNIT
check "in time" at_most "$(seconds $(($(now) - asked)))" 4
check "and well" equal "$(property Result)" success

echo 'nonsense = 1' >>/etc/pspnetd/pspnetd.toml
systemctl start --no-block $UNIT
check "a wrong configuration is not tried again" wait_for 20 is_state failed/failed
check "its exit status is 78" equal "$(property ExecMainStatus)" 78
check "the journal names file, line and key" in_journal "/etc/pspnetd/pspnetd.toml.*nonsense"
