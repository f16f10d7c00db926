# shellcheck shell=dash
#: about = "the unit under a real systemd"
#: machine = "virt"
#: root = "debian"
#: limit = 300
#: modules = ["vivid n_devs=1 node_types=0x1"]
#: files = { "/models/colours" = "tests/models/colours" }
# shellcheck source=scripts/board_lab/guest/lib.sh
. /lab/lib.sh
systemctl --version
systemctl --failed
systemd-analyze blame | head
check "it runs" true
