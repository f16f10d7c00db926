# shellcheck shell=dash
#: about = "the arm64 package under systemd: no camera, a camera that comes, upgrade, remove, purge"
#: machine = "virt"
#: root = "debian"
#: clock = "real"
#: package = true
#: limit = 480
#: carried = ["vivid"]
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh

readonly RESULTS=/var/lib/pspnetd/masks.jsonl
files() { find / -xdev \( -path /dev -o -path /lab -o -path /run -o -path /tmp -o -path /var/log \) -prune -o -print | sort; }
# What accounts, systemd and dpkg keep for themselves.
kept='/etc/\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-\?$\|/var/lib/systemd\|/var/lib/dpkg\|/var/cache\|/etc/systemd/system/'

files >/tmp/before
begin=$(now)
check "it installs where there is no camera, and does not wait for one" dpkg --install /lab/pspnetd.deb
measured install "$(seconds $(($(now) - begin))) s"
check "nothing that it depends on is missing" eval '! ldd /usr/bin/pspnetd | grep "not found"'
check "the account is there" id pspnetd
for group in video plugdev gpio apex; do
    check "it is in the group $group" eval "id -nG pspnetd | tr ' ' '\n' | grep -x $group"
done
sleep 15
check "without a camera the service waits" is_state activating/start
check "and is not started again and again" equal "$(property NRestarts)" 0
journalctl --unit=$UNIT --output=cat --no-pager | tee /tmp/journal
check "the journal says what it waits for" has "camera: waiting: .*no V4L2 devices" /tmp/journal
check "and says nothing else again and again" at_most "$(lines /tmp/journal)" 12
check "and says it once" equal "$(grep -c 'camera: waiting' /tmp/journal)" 1
check "its status says so too" eval "property StatusText | grep 'camera: waiting'"

modprobe vivid n_devs=1 node_types=0x1
came=$(now)
check "a camera that comes makes it active" wait_for 60 is_state active/running
measured camera-to-active "$(seconds $(($(now) - came))) s"
check "results are written" wait_for 20 more_than 1 $RESULTS
check "by its own account" equal "$(stat -c %U:%G $RESULTS)" pspnetd:pspnetd

# A higher version, with a changed configuration on the machine.
mkdir /var/new
dpkg-deb -R /lab/pspnetd.deb /var/new
sed -i 's/^Version: .*/&+board1/' /var/new/DEBIAN/control
echo '# A new default.' >>/var/new/etc/pspnetd/pspnetd.toml
dpkg-deb -Znone -b /var/new /var/new.deb >/dev/null
rm -r /var/new
echo '# edited here' >>/etc/pspnetd/pspnetd.toml
main=$(property MainPID)
check "it is upgraded" dpkg --force-confold --install /var/new.deb
rm /var/new.deb
check "an upgrade keeps an edited configuration" has 'edited here' /etc/pspnetd/pspnetd.toml
# The restart is only ordered when dpkg returns.
is_new() { _now=$(property MainPID) && [ "$_now" != 0 ] && [ "$_now" != "$main" ]; }
check "and starts the new program in a new process" wait_for 60 is_new
check "which becomes active" wait_for 60 is_state active/running

check "it is removed" dpkg --remove pspnetd
check "the service is gone" eval '! systemctl is-active pspnetd.service'
check "no process is left" eval '! pidof pspnetd'
check "the configuration stays" [ -f /etc/pspnetd/pspnetd.toml ]
check "the results stay" [ -s $RESULTS ]
check "it is purged" dpkg --purge pspnetd
check "then the configuration is gone" [ ! -e /etc/pspnetd ]
check "and the results" [ ! -e /var/lib/pspnetd ]
files >/tmp/after
diff /tmp/before /tmp/after | grep '^>' | grep -v "$kept" >/tmp/left
check "nothing else is left" equal "$(cat /tmp/left)" ""
check "it installs again" dpkg --install /lab/pspnetd.deb
check "and runs" wait_for 60 is_state active/running
