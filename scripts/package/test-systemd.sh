# shellcheck shell=bash
# Part of scripts/test-deb: the package under a real systemd, in a container made of the Debian that test-chroot.sh leaves.
# There is no camera in it: the service waits for one, or takes the test picture.

readonly CONFIGURATION=$GUEST/etc/pspnetd/pspnetd.toml
leader= # scripts/test-deb ends it

# The container's first process, as numbered here.
find_leader() {
    leader=$(awk '$1 == "NSpid:" && NF == 3 && $3 == 1 { split(FILENAME, part, "/"); print part[3] }' /proc/[0-9]*/status \
        2>/dev/null | head -n 1)
    [ -n "$leader" ]
}

# within SECONDS COMMAND…: tries it until it succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || {
            echo "in vain: $*"
            return 1
        }
        sleep 0.2
    done
}

booted() { nsenter -t "$leader" -m -u -i -n -p -- env -i "${CLEAN[@]}" timeout 60 "$@"; }

apt_booted() { booted apt-get -y -q -o Dpkg::Use-Pty=0 "$@"; }

boot() {
    systemd-nspawn --quiet --directory "$GUEST" --boot --private-network --register=no --keep-unit --machine=pspnetd-test \
        --console=read-only >"$WORK/boot.log" 2>&1 </dev/null &
    within 30 find_leader
}

service_is() { [ "$(booted systemctl show -P ActiveState pspnetd)" = "$1" ]; }
property() { booted systemctl show -P "$1" pspnetd; }
has_restarted_from() {
    local now
    now=$(property MainPID)
    [ "$now" != 0 ] && [ "$now" != "$1" ]
}

boot_does_not_wait_for_a_camera() {
    within 60 booted systemctl --quiet is-active multi-user.target
    service_is activating
    within 20 grep_status 'camera'
}

grep_status() { property StatusText | tee "$WORK/status" | grep "$1" >/dev/null; }

installation_does_not_wait_for_a_camera() {
    apt_booted purge pspnetd
    apt_booted install /root/pspnetd.deb
    service_is activating
    equal "enabled" "$(booted systemctl is-enabled pspnetd)" enabled
    has_restarted_from 0
}

use_the_test_picture() {
    sed -i 's/^#source = "auto"/source = "pattern:640x480"/' "$CONFIGURATION"
    grep -q '^source = "pattern' "$CONFIGURATION"
    booted systemctl restart pspnetd
    service_is active
    within 10 test -s "$GUEST/var/lib/pspnetd/masks.jsonl"
    equal "results" "$(booted stat -c '%U:%G %a' /var/lib/pspnetd /var/lib/pspnetd/masks.jsonl)" \
        "$(printf 'pspnetd:pspnetd 750\npspnetd:pspnetd 640')"
}

# As the shipped configuration has it: over loopback, and for pspnetd top over the socket.
the_page_is_there() {
    # shellcheck disable=SC2016  # for the other bash
    local ask='exec 3<>/dev/tcp/127.0.0.1/8088; printf "GET $0 HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; cat <&3'
    # By files: grep ends at the first match, and who writes to it would fail.
    booted bash -c "$ask" / >"$WORK/page"
    booted bash -c "$ask" /metrics >"$WORK/metrics"
    booted pspnetd top --once >"$WORK/top"
    grep -q '<title>' "$WORK/page"
    grep -q '^pspnetd_ready 1' "$WORK/metrics"
    grep -q '^ready: yes$' "$WORK/top"
    equal "socket" "$(booted stat -c '%U:%G %a' /run/pspnetd/pspnetd.sock)" 'pspnetd:pspnetd 660'
    booted pspnetd report /var/lib/pspnetd/latency.jsonl >"$WORK/report"
}

the_sandbox_is_on() {
    local status
    status=$(booted cat "/proc/$(property MainPID)/status")
    grep -q '^NoNewPrivs:[[:space:]]*1' <<<"$status"
    grep -q '^Seccomp:[[:space:]]*2' <<<"$status"
    grep -q '^CapEff:[[:space:]]*0000000000000000' <<<"$status"
    grep -q '^CapBnd:[[:space:]]*0000000000000000' <<<"$status"
    local group
    for group in video gpio plugdev apex; do
        grep '^Groups:' <<<"$status" | grep -w "$(booted getent group $group | cut -d: -f3)" >/dev/null
    done
}

# The status of the state's answer, to who brings this token or none.
state_status() {
    local header=
    [ -z "${1-}" ] || header="Authorization: Bearer $1"$'\r\n'
    # shellcheck disable=SC2016  # for the other bash
    booted bash -c 'exec 3<>/dev/tcp/127.0.0.1/8088
        printf "GET /api/v1/state HTTP/1.0\r\nHost: localhost\r\n%s\r\n" "$0" >&3; cat <&3' "$header" >"$WORK/state"
    head -n 1 "$WORK/state" | cut -d ' ' -f 2
}

a_token_is_handed_over() {
    local token=0123456789abcdef0123
    equal "the folder" "$(booted stat -c '%U:%G %a' /etc/pspnetd/credentials)" "root:root 700"
    cp "$CONFIGURATION" "$WORK/configuration"
    booted sh -c "umask 077 && echo $token >/etc/pspnetd/credentials/token"
    sed -i '/^\[http\]/a token_file = "credential:token"' "$CONFIGURATION"
    not booted runuser -u pspnetd -- cat /etc/pspnetd/credentials/token
    booted systemctl restart pspnetd
    service_is active
    equal "without the token" "$(state_status)" 401
    equal "with it" "$(state_status $token)" 200
    booted pspnetd check >/dev/null
    # Named and not there: an error that says so, once.
    booted rm /etc/pspnetd/credentials/token
    booted systemctl restart pspnetd || true
    within 10 service_is failed
    equal "exit status" "$(property ExecMainStatus)" 78
    # By hand, without the folder.
    cp "$WORK/configuration" "$CONFIGURATION"
    booted rmdir /etc/pspnetd/credentials
    booted systemctl restart pspnetd
    service_is active
    booted install -d -m 700 /etc/pspnetd/credentials
}

upgrade_restarts() {
    local before
    before=$(property MainPID)
    cp "$(repack "$VERSION+test3")" "$GUEST/root/next.deb"
    apt_booted install /root/next.deb
    within 20 has_restarted_from "$before"
    within 20 service_is active
    grep -q '^source = "pattern' "$CONFIGURATION"
}

a_crash_is_restarted() {
    local before
    before=$(property MainPID)
    booted sh -c "kill -ABRT $before"
    within 20 has_restarted_from "$before"
    within 20 service_is active
}

wrong_configuration_is_not_restarted() {
    local good status=0
    good=$(cat "$CONFIGURATION")
    echo 'nonsense = 1' >>"$CONFIGURATION"
    booted systemctl restart pspnetd || status=1
    equal "start fails" $status 1
    service_is failed
    equal "exit status" "$(property ExecMainStatus)" 78
    # Longer than the pause before a restart.
    sleep 4
    service_is failed
    equal "restarts" "$(property NRestarts)" 0
    # Neither an upgrade nor a removal stumbles over it.
    apt_booted install --reinstall /root/next.deb
    within 10 service_is failed
    printf '%s\n' "$good" >"$CONFIGURATION"
    booted systemctl restart pspnetd
    service_is active
}

disabled_stays_disabled() {
    local before
    booted systemctl disable --quiet --now pspnetd
    apt_booted install --reinstall /root/next.deb
    sleep 1
    service_is inactive
    equal "enabled" "$(booted systemctl is-enabled pspnetd || true)" disabled
    # Disabled and all the same running: it is the new program that must run.
    booted systemctl start pspnetd
    before=$(property MainPID)
    apt_booted install --reinstall /root/next.deb
    within 20 has_restarted_from "$before"
    within 20 service_is active
    booted systemctl enable --quiet pspnetd
}

policy_is_obeyed() {
    local before
    before=$(property MainPID)
    printf '#!/bin/sh\nexit 101\n' >"$GUEST/usr/sbin/policy-rc.d"
    chmod 755 "$GUEST/usr/sbin/policy-rc.d"
    apt_booted install --reinstall /root/next.deb
    rm "$GUEST/usr/sbin/policy-rc.d"
    sleep 1
    equal "process" "$(property MainPID)" "$before"
}

# The model that the running service says it runs.
service_runs() {
    # shellcheck disable=SC2016  # for the other bash
    booted bash -c 'exec 3<>/dev/tcp/127.0.0.1/8088; printf "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; cat <&3' \
        >"$WORK/metrics" && grep -q "^pspnetd_model_info{name=\"$1\"} 1" "$WORK/metrics"
}

upgrade_goes_on_with_the_model_that_is_named() {
    local before
    apt_booted purge pspnetd
    apt_booted install /root/old.deb
    use_the_test_picture
    service_runs street-fast
    before=$(property MainPID)
    apt_booted "${KEEP_EDITS[@]}" install /root/pspnetd.deb
    within 20 has_restarted_from "$before"
    within 20 service_is active
    service_runs street-fast
    equal "restarts" "$(property NRestarts)" 0
}

remove_stops() {
    apt_booted remove pspnetd
    not booted pgrep -x pspnetd
    [ ! -e "$GUEST/run/pspnetd" ]
    equal "unit" "$(property LoadState)" masked
    [ -s "$GUEST/var/lib/pspnetd/masks.jsonl" ] && [ -s "$CONFIGURATION" ]
}

purge_forgets() {
    apt_booted purge pspnetd
    equal "unit" "$(property LoadState)" not-found
    equal "failed units" "$(booted systemctl --failed --no-legend | grep -c pspnetd)" 0
    [ ! -e "$GUEST/etc/pspnetd" ] && [ ! -e "$GUEST/var/lib/pspnetd" ] && [ ! -e "$GUEST/usr/share/pspnetd" ]
}

can_run_a_container() { systemd-nspawn --version && [ -w /sys/fs/cgroup ]; }

if [ "${MISSING_TOOLS-}" != fail ] && ! can_run_a_container >/dev/null 2>&1; then
    echo "skipped: the checks under systemd: this machine can't run a container (systemd-nspawn, a /sys/fs/cgroup to write to)"
else
    check "this machine can run a container (systemd-nspawn, a /sys/fs/cgroup to write to)" can_run_a_container
    installs >/dev/null 2>&1 || true
    umount_guest
    check "a container with the package installed starts" boot
    find_leader || true
    if [ -n "$leader" ]; then
        check "a boot without a camera gets through, and the service waits" boot_does_not_wait_for_a_camera
        check "an installation without a camera does not wait, and the service does" installation_does_not_wait_for_a_camera
        check "with a source of frames it is active and writes" use_the_test_picture
        check "page, metrics, top and latency log are there" the_page_is_there
        check "the sandbox is on and the groups are there" the_sandbox_is_on
        check "a token comes as a credential, which root alone reads" a_token_is_handed_over
        check "an upgrade starts the new program" upgrade_restarts
        check "a crash is followed by a restart" a_crash_is_restarted
        check "a wrong configuration is not restarted, and an upgrade gets past it" wrong_configuration_is_not_restarted
        check "what the administrator disabled stays disabled" disabled_stays_disabled
        check "policy-rc.d is obeyed" policy_is_obeyed
        check "an upgrade goes on with the model for streets that is named" upgrade_goes_on_with_the_model_that_is_named
        check "remove stops the service" remove_stops
        check "purge leaves no trace in systemd" purge_forgets
    fi
fi
