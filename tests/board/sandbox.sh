# shellcheck shell=dash
#: about = "what the unit's sandbox denies, tried from inside it, and what it must leave open"
#: machine = "virt"
#: root = "debian"
#: clock = "real"
#: package = true
#: limit = 300
#: modules = ["vivid n_devs=1 node_types=0x1"]
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

# Each attempt, with what it should come to. In the sandbox it is a script like any other.
cat >/usr/local/bin/attempts <<'ATTEMPTS'
try() {
    _wanted=$1
    _name=$2
    shift 2
    if "$@" >/dev/null 2>&1; then _came=yes; else _came=no; fi
    echo "$_wanted $_came $_name"
}
try yes "open the camera" v4l2-ctl --device /dev/video0 --info
try yes "read the configuration" cat /etc/pspnetd/pspnetd.toml
try yes "read /proc/cpuinfo" cat /proc/cpuinfo
try yes "write its state folder" touch /var/lib/pspnetd/attempt
try yes "write its runtime folder" touch /run/pspnetd/attempt
try no "read a home" cat /home/somebody/secret
try no "read root's home" cat /root/secret
try no "open the disk" head -c 1 /dev/vda
try no "open a terminal" sh -c ': >/dev/ttyAMA0'
try no "write the kernel's log" sh -c 'echo x >/dev/kmsg'
try no "read the kernel's log" dmesg
try no "write /usr" touch /usr/attempt
try no "write /etc" touch /etc/pspnetd/attempt
try no "write another's /tmp" cat /tmp/outside
try no "see another's process" ls /proc/1/fd
try no "see process 1 at all" test -d /proc/1
try no "set a kernel parameter" sh -c 'echo 1 >/proc/sys/vm/drop_caches'
try no "set the clock" date --set=2001-01-01
try no "set the host's name" hostname other
try no "mount" mount -t tmpfs none /var/lib/pspnetd
try no "make a namespace" unshare --user true
try no "load a module" modprobe dummy
try no "gain a privilege by a set-user-id program" sh -c '[ "$(/usr/local/bin/id-as-root -u)" = 0 ]'
try no "make a set-user-id file" sh -c 'cp /usr/bin/true /var/lib/pspnetd/s && chmod u+s /var/lib/pspnetd/s'
try no "make a device node" mknod /var/lib/pspnetd/disk b 254 0
try yes "talk to this machine" bash -c 'echo x >/dev/udp/127.0.0.1/9'
try no "talk to another machine" bash -c 'echo x >/dev/udp/192.0.2.1/9'
# As libusb does for Coral sticks. It listens until its time is over, unless it can't.
try yes "open a netlink socket" sh -c 'timeout 2 udevadm monitor --udev; test $? = 124'
try no "take real-time priority" chrt --fifo 10 true
try no "read another group's file" cat /etc/shadow
ATTEMPTS

dpkg --install /lab/pspnetd.deb >/dev/null
systemctl stop pspnetd.service
mkdir -p /home/somebody /root
echo secret | tee /home/somebody/secret >/root/secret
chmod 644 /home/somebody/secret /root/secret
chmod 755 /root
echo outside >/tmp/outside
# A network that there is a way into, though nobody answers there.
modprobe dummy
busybox ip address add 192.0.2.2/24 dev dummy0
busybox ip link set dummy0 up
install -m 4755 /usr/bin/id /usr/local/bin/id-as-root
# The unit itself, with another program in it.
unit=$(systemctl show --property=FragmentPath --value pspnetd.service)
sed 's,^Type=.*,Type=oneshot,; s,^ExecStart=.*,ExecStart=/bin/sh /usr/local/bin/attempts,
    /^Watchdog/d; /^Restart/d; /^NotifyAccess/d
    s,^SystemCallErrorNumber=.*,&\nStandardOutput=file:/run/attempts.out,' "$unit" >/etc/systemd/system/attempts.service
systemctl daemon-reload
check "the attempts run in the sandbox" systemctl start attempts.service
cat /run/attempts.out
while read -r wanted came name; do
    case $wanted in
    yes) check "it can $name" equal "$came" yes ;;
    no) check "it can't $name" equal "$came" no ;;
    esac
done </run/attempts.out
check "all attempts were made" equal "$(lines /run/attempts.out)" "$(grep -c '^try ' /usr/local/bin/attempts)"
# A denial that comes for another reason proves nothing: outside, as root, the same attempts succeed.
sh /usr/local/bin/attempts >/tmp/outside.out 2>&1
grep '^no no' /tmp/outside.out
check "outside the sandbox nearly all of them succeed" at_most "$(grep -c '^no no' /tmp/outside.out)" 3
