# shellcheck shell=bash
# Part of scripts/test-deb: which package has which models, and what becomes of the models for streets when pspnetd is upgraded
# from a version that had them. In the Debian of test-chroot.sh, which leaves it without pspnetd.
# shellcheck disable=SC2154  # VERSION and others: scripts/test-deb's
# shellcheck disable=SC2016  # ${...} in single quotes is dpkg-query's

readonly MODELS=$GUEST/usr/share/pspnetd/models
readonly CONF=$GUEST/etc/pspnetd/pspnetd.toml
readonly OLD_VERSION=0.1.0-1
readonly KEEP_EDITS=(-o Dpkg::Options::=--force-confold)

# The package as it was when models/street-* were in it: its models, its configuration, and no preinst. Prints where.
old_package() {
    local folder deb=$WORK/pspnetd_$OLD_VERSION.deb
    folder=$(mktemp -d "$WORK/repack.XXXX")
    dpkg-deb -R "$DEB" "$folder"
    rm -r "$folder"/usr/share/pspnetd/models/* "$folder/DEBIAN/preinst"
    dpkg-deb --fsys-tarfile "$STREET_DEB" | tar -C "$folder" -x ./usr/share/pspnetd
    sed -i "s/^Version: .*/Version: $OLD_VERSION/" "$folder/DEBIAN/control"
    sed -i 's,/scene-fast/,/street-fast/,' "$folder/etc/pspnetd/pspnetd.toml"
    dpkg-deb --root-owner-group -Zgzip -b "$folder" "$deb" >/dev/null
    rm -r "$folder"
    echo "$deb"
}

# broken PREINST_LINE [FILE]: the package with a line more in its preinst, and with a file more. Prints where.
broken() {
    local folder deb=$WORK/pspnetd_broken.deb
    folder=$(mktemp -d "$WORK/repack.XXXX")
    dpkg-deb -R "$DEB" "$folder"
    echo "$1" >>"$folder/DEBIAN/preinst"
    [ -z "${2-}" ] || install -D -m 644 /dev/null "$folder$2"
    dpkg-deb --root-owner-group -Zgzip -b "$folder" "$deb" >/dev/null
    rm -r "$folder"
    echo "$deb"
}

# The old package with a configuration that was edited: dpkg keeps it, and it names street-fast.
old_with_an_edit() {
    inside dpkg --purge pspnetd pspnetd-models-street
    apt_inside install /root/old.deb
    sed -i 's/^#interval = .*/interval = "7s" # by hand/' "$CONF"
    runs street-fast
}

upgrade() { apt_inside "${KEEP_EDITS[@]}" install /root/pspnetd.deb >"$WORK/upgrade"; }

# runs MODEL: the configuration is right, and this is the model that it runs, as it is in the repository.
runs() {
    as_pspnetd pspnetd check --config /etc/pspnetd/pspnetd.toml --set camera.source=pattern:640x480 "${NO_FILES[@]}" \
        >"$WORK/effective.toml"
    grep -q "^path = \"/usr/share/pspnetd/models/$1/model.tflite\"" "$WORK/effective.toml"
    cmp "models/$1/model.tflite" "$MODELS/$1/model.tflite"
    cmp "models/$1/manifest.toml" "$MODELS/$1/manifest.toml"
}

street_models_are() { equal "models for streets" "$(cd "$MODELS" && echo street-*)" "$*"; }

no_diversions_are_left() { equal "diversions" "$(inside dpkg-divert --list '*pspnetd*')" ""; }

# kept MODEL…: these stay from the old version, with the note that says why, and no others.
kept() {
    local model
    street_models_are "$@"
    for model in "$@"; do
        equal "files" "$(ls "$MODELS/$model")" $'README.md\nkept-by-pspnetd.txt\nmanifest.toml\nmodel.tflite'
    done
    no_diversions_are_left
}

nothing_is_left() {
    inside dpkg --purge pspnetd pspnetd-models-street
    no_diversions_are_left
    paths | diff "$WORK/before" -
}

licence_is_told() {
    equal "section" "$(dpkg-deb -f "$STREET_DEB" Architecture Section)" $'Architecture: all\nSection: non-free/video'
    dpkg-deb -f "$STREET_DEB" Description | grep 'research and non-commercial' >/dev/null
    dpkg-deb --fsys-tarfile "$STREET_DEB" | tar -xO ./usr/share/doc/pspnetd-models-street/copyright | grep '^License: CamVid' >/dev/null
    not grep CamVid <(dpkg-deb --fsys-tarfile "$DEB" | tar -xO ./usr/share/doc/pspnetd/copyright)
    not grep street- <(dpkg-deb -c "$DEB")
    not grep -E '\.pt$' <(dpkg-deb -c "$STREET_DEB")
}

street_models_install_beside_the_default() {
    apt_inside install /root/pspnetd.deb /root/street.deb
    inside dpkg -V pspnetd pspnetd-models-street
    street_models_are street-{accurate,bootstrap,fast,nano}
    runs scene-fast
    as_pspnetd sh -c 'cd /tmp && pspnetd predict /root/picture.jpg --json' 2>"$WORK/words" >/dev/null
    grep -q 'model: scene-fast on' "$WORK/words"
    nothing_is_left
}

upgrade_keeps_what_is_named() {
    local unit=$GUEST/etc/systemd/system/pspnetd.service.d
    old_with_an_edit
    mkdir "$unit"
    echo "Environment=PSPNETD_MODEL_PATH=/usr/share/pspnetd/models/street-nano/model.tflite" >"$unit/model.conf"
    echo "# street-accurate is only spoken of here" >"$GUEST/etc/default/pspnetd"
    upgrade
    rm -r "$unit" "$GUEST/etc/default/pspnetd"
    grep -q 'by hand' "$CONF"
    grep -q 'models/street-fast stays, because.*non-commercial.*pspnetd-models-street' "$WORK/upgrade"
    kept street-fast street-nano
    runs street-fast
    # And again, from a version that has none.
    apt_inside install --reinstall /root/pspnetd.deb
    kept street-fast street-nano
    runs street-fast
}

# The configuration, or its whole folder, may be a link out of /etc; what else lies there is never opened.
upgrade_keeps_what_is_named_behind_a_link() {
    local folder=$GUEST/etc/pspnetd link
    for link in file folder; do
        old_with_an_edit
        mkdir "$GUEST/srv/kept"
        if [ $link = file ]; then
            mv "$CONF" "$GUEST/srv/kept/site.toml"
            ln -s /srv/kept/site.toml "$CONF"
        else
            mv "$folder" "$GUEST/srv/kept/pspnetd"
            ln -s /srv/kept/pspnetd "$folder"
        fi
        # /proc/kmsg would hold the reader.
        ln -s /proc "$GUEST/etc/elsewhere"
        ln -s loop "$GUEST/etc/loop"
        mkfifo "$GUEST/etc/pipe"
        upgrade
        rm "$GUEST"/etc/{elsewhere,loop,pipe}
        kept street-fast
        runs street-fast
        if [ $link = folder ]; then
            rm "$folder"
            mv "$GUEST/srv/kept/pspnetd" "$folder"
        fi
        inside dpkg --purge pspnetd
        rm -r "$GUEST/srv/kept"
        nothing_is_left
    done
}

street_package_takes_over() {
    local status=0
    apt_inside install /root/street.deb
    inside dpkg -V pspnetd pspnetd-models-street
    equal "owner" "$(inside dpkg-query -S /usr/share/pspnetd/models/street-fast/model.tflite)" \
        "pspnetd-models-street: /usr/share/pspnetd/models/street-fast/model.tflite"
    equal "notes" "$(find "$MODELS" -name 'kept-*')" ""
    runs street-fast
    apt_inside remove pspnetd-models-street
    street_models_are 'street-*'
    as_pspnetd pspnetd check --config /etc/pspnetd/pspnetd.toml "${NO_FILES[@]}" 2>"$WORK/refused" || status=$?
    equal "exit status" $status 78
    grep -q 'street-fast/model.tflite: No such file.*package pspnetd-models-street installs it' "$WORK/refused"
    apt_inside install /root/street.deb
    runs street-fast
}

purge_takes_the_street_package_along() {
    apt_inside purge pspnetd
    paths | diff "$WORK/before" -
    no_diversions_are_left
}

# apt must not remove the old pspnetd for it.
street_package_alone_does_not_touch_the_old_version() {
    old_with_an_edit
    not apt_inside install /root/street.deb
    equal "status" "$(inside dpkg-query -W -f '${db:Status-Status} ${Version}' pspnetd)" "installed $OLD_VERSION"
    runs street-fast
}

upgrade_of_an_unedited_configuration_takes_the_default() {
    inside dpkg --purge pspnetd
    apt_inside install /root/old.deb
    upgrade
    grep -q 'the default model is scene-fast now' "$WORK/upgrade"
    street_models_are 'street-*'
    runs scene-fast
    nothing_is_left
}

purge_removes_what_was_kept() {
    old_with_an_edit
    upgrade
    apt_inside remove pspnetd
    kept street-fast
    apt_inside "${KEEP_EDITS[@]}" install /root/pspnetd.deb
    kept street-fast
    runs street-fast
    nothing_is_left
}

new_configuration_lets_the_models_go() {
    old_with_an_edit
    apt_inside -o Dpkg::Options::=--force-confnew install /root/pspnetd.deb
    street_models_are 'street-*'
    no_diversions_are_left
    runs scene-fast
    nothing_is_left
}

both_packages_at_once() {
    old_with_an_edit
    apt_inside "${KEEP_EDITS[@]}" install /root/pspnetd.deb /root/street.deb
    inside dpkg -V pspnetd-models-street
    equal "notes" "$(find "$MODELS" -name 'kept-*')" ""
    no_diversions_are_left
    runs street-fast
    nothing_is_left
}

# A file that another package has makes dpkg give up in the midst of unpacking.
refused_upgrade_leaves_the_old_version() {
    old_with_an_edit
    cp "$(broken : /usr/bin/setpriv)" "$GUEST/root/broken.deb"
    not inside dpkg --force-confold -i /root/broken.deb
    equal "status" "$(inside dpkg-query -W -f '${db:Status-Status} ${Version}' pspnetd)" "installed $OLD_VERSION"
    street_models_are street-{accurate,bootstrap,fast,nano}
    no_diversions_are_left
    runs street-fast
}

# Killed as by a power cut: with the models diverted and nothing unpacked, then with all unpacked and nothing configured.
killed_upgrade_can_be_taken_up() {
    old_with_an_edit
    cp "$(broken 'kill -KILL $PPID')" "$GUEST/root/broken.deb"
    not inside dpkg --force-confold -i /root/broken.deb
    runs street-fast
    inside dpkg --unpack /root/pspnetd.deb
    runs street-fast
    inside dpkg --unpack /root/pspnetd.deb
    inside dpkg --force-confold --configure -a
    kept street-fast
    runs street-fast
    nothing_is_left
}

cp "$STREET_DEB" "$GUEST/root/street.deb"
cp "$(old_package)" "$GUEST/root/old.deb"
check "the models for streets are a package of their own, which tells their licence" licence_is_told
check "models for streets install beside the default one" street_models_install_beside_the_default
check "an upgrade from a version that had models for streets keeps those that are named" upgrade_keeps_what_is_named
check "the package of models for streets takes them over, and a missing one is told" street_package_takes_over
check "purge takes the package of models for streets along" purge_takes_the_street_package_along
check "an upgrade keeps models that a configuration behind a link names" upgrade_keeps_what_is_named_behind_a_link
check "the package of models for streets alone leaves an old version alone" street_package_alone_does_not_touch_the_old_version
check "an upgrade of an unedited configuration takes the default model" upgrade_of_an_unedited_configuration_takes_the_default
check "purge removes the models that an upgrade kept" purge_removes_what_was_kept
check "the new configuration lets the old models go" new_configuration_lets_the_models_go
check "an upgrade together with the package of models leaves them to it" both_packages_at_once
check "an upgrade that dpkg refuses leaves the old version with its models" refused_upgrade_leaves_the_old_version
check "an upgrade that is killed runs the model at every stage and can be taken up" killed_upgrade_can_be_taken_up
