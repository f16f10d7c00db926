# shellcheck shell=dash
# What scenarios share: checks, waiting, and a running daemon to watch. Lines that start with @@ are for the lab.

export LD_LIBRARY_PATH=/usr/lib/pspnetd RUST_LOG=info
readonly LOG=/tmp/pspnetd.log MASKS=/tmp/masks.jsonl UNIT=pspnetd.service

# check NAME COMMAND…: the scenario fails unless the command succeeds, and goes on.
check() {
    _name=$1
    shift
    if "$@" >/tmp/check 2>&1; then
        echo "@@ ok $_name"
    else
        echo "@@ FAILED $_name (status $? of: $*)"
        # The kernel may write into the middle of that line: the scenario's end tells it again.
        echo "$_name" >>/tmp/failed
        tail -n 15 /tmp/check | sed 's/^/    | /'
    fi
}

# fail NAME: a check that has failed.
fail() { check "$1" false; }

# measured NAME VALUE UNIT: a figure for the lab's table.
measured() { echo "@@ measured $*"; }

# Hundredths of a second since boot.
now() { sed 's/^\([0-9]*\)\.\([0-9]*\) .*/\1\2/' /proc/uptime; }

# seconds HUNDREDTHS
seconds() { printf '%d.%02d' $(($1 / 100)) $(($1 % 100)); }

# wait_for SECONDS COMMAND…: until the command succeeds; fails when it has not by then.
wait_for() {
    _until=$(($(now) + $1 * 100))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now)" -lt $_until ] || return 1
        sleep 0.05
    done
}

# at_most A B, at_least A B: whole or decimal numbers.
at_most() { echo "$1 <= $2" && awk "BEGIN { exit !($1 <= $2) }"; }
at_least() { echo "$1 >= $2" && awk "BEGIN { exit !($1 >= $2) }"; }
equal() { echo "'$1' = '$2'" && [ "$1" = "$2" ]; }
has() { grep -qe "$1" "$2" || { tail -n 15 "$2"; false; }; }
has_not() { ! grep -e "$1" "$2"; }

lines() { wc -l <"$1"; }
more_than() { [ "$(lines "$2")" -gt "$1" ]; }

# start ARGUMENT…: `pspnetd run`, its log in $LOG, its results in $MASKS, its process in $PID.
start() {
    : >$LOG
    : >$MASKS
    pspnetd run --set publish.jsonl.path=$MASKS --set telemetry.interval=1s "$@" >/tmp/out 2>>$LOG &
    PID=$!
}

# stop NAME: ends it, and checks that it ended well and in time.
stop() {
    _asked=$(now)
    kill -TERM "$PID"
    wait "$PID"
    check "$1 ends with exit status 0" equal $? 0
    _took=$(($(now) - _asked))
    # A second is promised; the emulator is some ten times slower than the board.
    check "$1 ends in time" at_most "$(seconds $_took)" 3
}

masks() { wait_for "${1:-20}" more_than "${2:-0}" $MASKS; }

# new_masks SECONDS: a mask that was not there when this was called.
new_masks() { masks "$1" "$(lines $MASKS)"; }

# total NAME: a count of the `frames …` lines, of which each has its own interval. The table at the end, under a line that
# begins with "stage", has the whole run once more.
total() {
    awk -v "name=$1=" '/ stage +n +p50 ms/ { sum = 0 }
        / frames in=/ { for (i = 1; i <= NF; i++) if (index($i, name) == 1) sum += substr($i, length(name) + 1) }
        END { print sum + 0 }' $LOG
}

# said PATTERN: the daemon's log has it, or gets it soon.
said() { wait_for 5 has "$1" $LOG; }

# memory_kb FIELD: a figure of the daemon's /proc/PID/status, such as VmRSS.
memory_kb() { sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$PID/status"; }
# pss_kb: resident memory of the daemon and of its processes together; what they share counts once.
pss_kb() {
    for process in "$PID" $(cat "/proc/$PID"/task/*/children); do
        cat "/proc/$process/smaps_rollup" 2>/dev/null
    done | awk '/^Pss:/ { sum += $2 } END { print sum + 0 }'
}
descriptors() { find "/proc/$PID/fd" -type l | wc -l; }
mappings() { lines "/proc/$PID/maps"; }

# property NAME, is_state STATE/SUBSTATE: of the unit.
property() { systemctl show --timestamp=us --property="$1" --value $UNIT; }
is_state() { equal "$(property ActiveState)/$(property SubState)" "$1"; }
