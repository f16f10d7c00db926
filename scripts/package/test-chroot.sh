# shellcheck shell=bash
# Part of scripts/test-deb: the package in a clean Debian 12 where no service manager runs, as when an image is built.
# shellcheck disable=SC2154  # arch: scripts/test-deb's
# shellcheck disable=SC2016  # ${...} in single quotes is dpkg-query's

readonly BASE=$WORK/debian12-$arch.tar
readonly ARCHIVES=$WORK/archives
# The environment of whatever runs in there.
readonly CLEAN=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
    DEBIAN_FRONTEND=noninteractive)
readonly PICTURE=tests/media/colours/5_double.jpg

# A bare Debian 12 in $GUEST, with /proc (XNNPACK reads cpuinfo), /sys (for udevadm), the network's names, and the packages
# that earlier runs fetched.
new_guest() {
    if [ ! -f "$BASE" ]; then
        say "fetching a bare Debian 12 from $MIRROR, once"
        mmdebstrap --quiet --mode=root --variant=minbase --format=tar --architectures="$arch" \
            bookworm "$BASE.partial" "$MIRROR"
        mv "$BASE.partial" "$BASE"
    fi
    rm -rf --one-file-system "$GUEST"
    mkdir -p "$GUEST" "$ARCHIVES/partial"
    tar -C "$GUEST" -xf "$BASE"
    mount -t proc proc "$GUEST/proc"
    mount -t sysfs -o ro sysfs "$GUEST/sys"
    mount --bind "$ARCHIVES" "$GUEST/var/cache/apt/archives"
    cp /etc/resolv.conf "$GUEST/etc/resolv.conf"
    cp "$DEB" "$GUEST/root/pspnetd.deb"
    cp "$ROOT/$PICTURE" "$GUEST/root/picture.jpg"
    chmod 711 "$GUEST/root"
    inside apt-get update -qq
}

inside() { chroot "$GUEST" env -i "${CLEAN[@]}" "$@"; }

as_pspnetd() { inside setpriv --reuid=pspnetd --regid=pspnetd --init-groups -- "$@"; }

apt_inside() { inside apt-get -y -q -o Dpkg::Use-Pty=0 "$@"; }

# Every path, but not what a package manager or an account database changes in passing.
paths() {
    find "$GUEST" -xdev \( -path "$GUEST/proc" -o -path "$GUEST/sys" -o -path "$GUEST/var/cache" -o -path "$GUEST/root" \
        -o -path "$GUEST/var/lib/apt" -o -path "$GUEST/var/lib/dpkg" -o -path "$GUEST/var/log" -o -path "$GUEST/tmp" \) \
        -prune -o ! -path "$GUEST/etc/*-" ! -name .pwd.lock -printf '%P\n' | sort
}

install_dependencies() {
    local others
    # What apt would install for it, by its own word.
    mapfile -t others < <(apt_inside install -s /root/pspnetd.deb | awk '$1 == "Inst" && $2 != "pspnetd" { print $2 }')
    [ ${#others[@]} -gt 0 ] || die "apt would install nothing beside pspnetd: is this a bare Debian?"
    apt_inside install --no-install-recommends "${others[@]}"
}

installs() {
    apt_inside install /root/pspnetd.deb
    equal "status" "$(inside dpkg-query -W -f '${db:Status-Status} ${Version}' pspnetd)" "installed $VERSION"
    inside dpkg -V pspnetd
}

files_are_in_their_places() {
    local file
    for file in 755:/usr/bin/pspnetd 644:/usr/lib/pspnetd/libtensorflowlite_c.so \
        644:/usr/lib/systemd/system/pspnetd.service \
        644:/usr/lib/udev/rules.d/60-pspnetd.rules 644:/usr/lib/sysusers.d/pspnetd.conf 644:/etc/pspnetd/pspnetd.toml \
        755:/etc/pspnetd 644:/usr/share/man/man1/pspnetd.1.gz 644:/usr/share/man/man1/pspnetd-run.1.gz \
        644:/usr/share/bash-completion/completions/pspnetd 644:/usr/share/zsh/vendor-completions/_pspnetd \
        644:/usr/share/fish/vendor_completions.d/pspnetd.fish 644:/usr/share/doc/pspnetd/copyright \
        644:/usr/share/doc/pspnetd/changelog.gz 644:/usr/share/doc/pspnetd/changelog.Debian.gz \
        644:/usr/share/doc/pspnetd/{README,SECURITY,docs/configuration}.md \
        644:/usr/share/pspnetd/models/scene-fast/{model.tflite,manifest.toml,README.md}; do
        equal "${file#*:}" "$(inside stat -c '%U:%G %a' "${file#*:}")" "root:root ${file%%:*}"
    done
    equal "the configuration file is one" "$(inside dpkg-query -W -f '${Conffiles}' pspnetd | awk '{ print $1 }')" \
        /etc/pspnetd/pspnetd.toml
}

nothing_is_too_open_or_too_large() {
    local odd
    odd=$(inside dpkg -L pspnetd | while read -r path; do
        inside find "$path" -maxdepth 0 \( -perm /022 -o ! -user root -o ! -group root -o -size +12M -o -name '*.pt' \)
    done)
    equal "paths" "$odd" ""
}

models_and_library_are_the_tested_ones() {
    local path
    for path in models/scene-*/model.tflite; do
        cmp "$path" "$GUEST/usr/share/pspnetd/$path"
    done
    cmp "native/tflite/$(uname -m)/libtensorflowlite_c.so" "$GUEST/usr/lib/pspnetd/libtensorflowlite_c.so"
}

account_and_groups_are_there() {
    equal "account" "$(inside getent passwd pspnetd | cut -d: -f1,6,7)" "pspnetd:/var/lib/pspnetd:/usr/sbin/nologin"
    [ "$(inside id -u pspnetd)" -lt 1000 ]
    equal "groups" "$(inside id -Gn pspnetd | tr ' ' '\n' | sort | paste -sd' ')" "apex gpio plugdev pspnetd video"
}

udev_reads_the_rules() {
    inside udevadm test --action=add /sys/class/mem/null >"$WORK/udev" 2>&1
    # What that run of udevadm left, not the package.
    rm -rf "$GUEST/run/udev" "$GUEST/dev/char"
    grep -q 'Reading rules file: /usr/lib/udev/rules.d/60-pspnetd.rules' "$WORK/udev"
    not grep '60-pspnetd.rules:' "$WORK/udev"
}

is_enabled() { [ -L "$GUEST/etc/systemd/system/multi-user.target.wants/pspnetd.service" ]; }

tells_its_version() { equal "version" "$(inside pspnetd --version)" "pspnetd ${VERSION%-*}"; }

loads_the_librarys_own_copy() {
    local path
    path=$(inside ldd /usr/bin/pspnetd | awk '/tensorflow/ { print $3 }')
    equal "library" "$(inside realpath "$path")" /usr/lib/pspnetd/libtensorflowlite_c.so
}

readonly NO_FILES=(--set publish.jsonl.path=- --set telemetry.latency_log.path=)

configuration_is_right() {
    local status=0
    # All but the camera, of which there is none; /var/lib/pspnetd is made by systemd.
    as_pspnetd pspnetd check --config /etc/pspnetd/pspnetd.toml --set camera.source=pattern:640x480 "${NO_FILES[@]}"
    as_pspnetd pspnetd check --config /etc/pspnetd/pspnetd.toml "${NO_FILES[@]}" || status=$?
    equal "exit status of check without a camera" $status 69
}

predicts_with_the_default_model() {
    as_pspnetd sh -c 'cd /tmp && pspnetd predict /root/picture.jpg --json -o /tmp/masks' >"$WORK/line.json"
    grep -q '"classes"' "$WORK/line.json"
    # The very mask that the same program makes here with the model that should have been taken.
    target/release/pspnetd predict --model models/scene-fast/model.tflite "$PICTURE" -o "$WORK/masks"
    cmp "$GUEST/tmp/masks/picture_mask.png" "$WORK/masks/5_double_mask.png"
}

man_pages_render() {
    local page
    for page in "$GUEST"/usr/share/man/man1/pspnetd*.1.gz; do
        gzip -t "$page"
        zcat "$page" >"$WORK/page.1"
        # Faults; the style of generated roff is not ours.
        mandoc -T lint -W error "$WORK/page.1"
        equal "faults that groff finds" "$(groff -Kutf8 -man -Tutf8 -ww -z "$WORK/page.1" 2>&1)" ""
        mandoc -T ascii "$WORK/page.1" | col -b >"$WORK/page.txt"
        grep -q '^SYNOPSIS' "$WORK/page.txt"
    done
    # The last one is pspnetd.1 itself.
    grep -q '/etc/pspnetd/pspnetd.toml' "$WORK/page.txt"
}

completions_complete() {
    # shellcheck disable=SC2016  # for the other bash
    inside bash --norc -c 'set -e
        . /usr/share/bash-completion/completions/pspnetd
        complete -p pspnetd | grep _pspnetd >/dev/null
        COMP_WORDS=(pspnetd che) COMP_CWORD=1 COMP_TYPE=9
        _pspnetd pspnetd che pspnetd
        [ "${COMPREPLY[*]}" = check ] || { echo "completed to: ${COMPREPLY[*]}"; exit 1; }'
    grep -q '^#compdef pspnetd' "$GUEST/usr/share/zsh/vendor-completions/_pspnetd"
    grep -q '^complete -c pspnetd' "$GUEST/usr/share/fish/vendor_completions.d/pspnetd.fish"
}

copyright_is_machine_readable() {
    local licence licences file=$GUEST/usr/share/doc/pspnetd/copyright
    [ "$(head -n 1 "$file")" = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/" ]
    # Every licence that a paragraph names stands in it with its text.
    mapfile -t licences < <(awk '/^Files:/ { files = 1 } files && /^License:/ { $1 = ""; print; files = 0 }' "$file" |
        sed 's/^ //; s/ or \| and /\n/g' | sort -u)
    [ ${#licences[@]} -gt 5 ]
    for licence in "${licences[@]}"; do
        grep -A 1 "^License: $licence\$" "$file" | grep '^ ' >/dev/null || {
            echo "no text of the licence $licence"
            return 1
        }
    done
}

upgrade_keeps_an_edit() {
    sed -i 's/^#interval = .*/interval = "7s" # by hand/' "$GUEST/etc/pspnetd/pspnetd.toml"
    cp "$(repack "$VERSION+test1")" "$GUEST/root/next.deb"
    apt_inside install /root/next.deb
    grep -q 'by hand' "$GUEST/etc/pspnetd/pspnetd.toml"
    equal "files in /etc/pspnetd" "$(ls "$GUEST/etc/pspnetd")" "$(printf 'credentials\npspnetd.toml')"
    is_enabled
}

# As unattended-upgrades has it; without that option dpkg asks, and only here.
upgrade_with_a_new_default_keeps_an_edit() {
    cp "$(repack "$VERSION+test2" "a new line of the package")" "$GUEST/root/next.deb"
    apt_inside -o Dpkg::Options::=--force-confold install /root/next.deb
    grep -q 'by hand' "$GUEST/etc/pspnetd/pspnetd.toml"
    grep -q 'a new line of the package' "$GUEST/etc/pspnetd/pspnetd.toml.dpkg-dist"
    inside pspnetd check --config /etc/pspnetd/pspnetd.toml --set camera.source=pattern:640x480 \
        "${NO_FILES[@]}" >"$WORK/effective.toml"
    grep -q 'interval = "7s"' "$WORK/effective.toml"
}

upgrade_takes_a_new_default_where_nobody_edited() {
    apt_inside purge pspnetd
    apt_inside install /root/pspnetd.deb
    apt_inside install /root/next.deb
    grep -q 'a new line of the package' "$GUEST/etc/pspnetd/pspnetd.toml"
    equal "files in /etc/pspnetd" "$(ls "$GUEST/etc/pspnetd")" "$(printf 'credentials\npspnetd.toml')"
}

remove_leaves_configuration_and_results() {
    echo '# by hand' >>"$GUEST/etc/pspnetd/pspnetd.toml"
    inside install -d -o pspnetd -g pspnetd -m 750 /var/lib/pspnetd
    as_pspnetd sh -c 'echo "{}" >/var/lib/pspnetd/masks.jsonl'
    apt_inside remove pspnetd
    grep -q 'by hand' "$GUEST/etc/pspnetd/pspnetd.toml"
    [ -s "$GUEST/var/lib/pspnetd/masks.jsonl" ]
    equal "status" "$(inside dpkg-query -W -f '${db:Status-Status}' pspnetd)" config-files
    # Beside these two, what deb-systemd-helper needs to enable the service again.
    equal "files" "$(paths | comm -13 "$WORK/before" - |
        grep -vE '^(etc|var/lib)/pspnetd|deb-systemd-helper|/pspnetd.service$')" ""
}

# purge after remove, and what a purge leaves is what was there before the first installation.
purge_leaves_nothing() {
    apt_inside purge pspnetd
    paths >"$WORK/after"
    diff "$WORK/before" "$WORK/after"
    equal "account, which stays" "$(inside id -un pspnetd)" pspnetd
}

installs_again_after_a_purge() {
    installs
    is_enabled
    as_pspnetd pspnetd predict /root/picture.jpg --json >"$WORK/line.json"
    grep -q '"classes"' "$WORK/line.json"
    not grep -q 'by hand' "$GUEST/etc/pspnetd/pspnetd.toml"
    apt_inside purge pspnetd
    paths | diff "$WORK/before" -
}

new_guest
check "apt resolves the dependencies" install_dependencies
paths >"$WORK/before"
check "it installs by apt-get install ./pspnetd.deb" installs
check "files have their places, owners and modes" files_are_in_their_places
check "no file is open to others' writing, and no checkpoint came along" nothing_is_too_open_or_too_large
check "models and library are byte for byte the tested ones" models_and_library_are_the_tested_ones
check "account and groups are there" account_and_groups_are_there
check "udev reads the rules without complaint" udev_reads_the_rules
check "the service is enabled" is_enabled
check "pspnetd --version is the package's" tells_its_version
check "the program loads the library in /usr/lib/pspnetd" loads_the_librarys_own_copy
check "pspnetd check passes the configuration, and misses but the camera" configuration_is_right
check "pspnetd predict finds the default model and gives the known mask" predicts_with_the_default_model
check "every man page renders" man_pages_render
check "completions load and complete" completions_complete
check "copyright is in the machine-readable form, with every licence" copyright_is_machine_readable
check "an upgrade keeps an edited configuration and asks nothing" upgrade_keeps_an_edit
check "an upgrade with a new default leaves it beside an edited one" upgrade_with_a_new_default_keeps_an_edit
check "an upgrade with a new default takes it where nobody edited" upgrade_takes_a_new_default_where_nobody_edited
check "remove leaves configuration and results, and nothing else" remove_leaves_configuration_and_results
check "purge leaves what was there before, and the account" purge_leaves_nothing
check "it installs again after a purge, and goes again" installs_again_after_a_purge
