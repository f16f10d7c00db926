# shellcheck shell=bash
# Part of scripts/build-deb: the package pspnetd-models-street. It has no program in it, so it is the same for every machine,
# and dpkg-deb makes it without cargo-deb, which knows no such packages.
# shellcheck disable=SC2154  # version, maintainer, time: scripts/build-deb's

readonly STREET=$ROOT/scripts/package/debian-models-street

package_models_street() {
    local name=pspnetd-models-street
    local deb=$OUT/${name}_${version}_all.deb folder=$ROOT/target/$name model share document
    if [ -f "$deb" ] && [ -z "$(newer_than "$deb")" ]; then
        say "${deb#"$ROOT"/} is current"
        return
    fi
    rm -rf "$folder"
    share=$folder/usr/share/pspnetd/models document=$folder/usr/share/doc/$name
    mkdir -p "$folder/DEBIAN" "$OUT"
    for model in "$ROOT"/models/street-*; do
        install -D -m 644 -t "$share/${model##*/}" "$model"/{model.tflite,manifest.toml,README.md}
    done
    install -D -m 644 "$STREET/copyright" "$document/copyright"
    install -D -m 644 "$STREET/lintian-overrides" "$folder/usr/share/lintian/overrides/$name"
    install -m 755 "$STREET/postinst" "$folder/DEBIAN/postinst"
    debian_changelog $name | gzip -9n >"$document/changelog.Debian.gz"
    gzip -9nc "$ROOT/CHANGELOG.md" >"$document/changelog.gz"
    {
        printf 'Package: %s\nVersion: %s\nMaintainer: %s\n' $name "$version" "$maintainer"
        printf 'Installed-Size: %s\n' "$(du -sk --apparent-size "$folder/usr" | cut -f 1)"
        cat "$STREET/control"
    } >"$folder/DEBIAN/control"
    (cd "$folder" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    chmod -R u=rwX,go=rX "$folder"
    SOURCE_DATE_EPOCH=$time dpkg-deb --root-owner-group -Zxz --build "$folder" "$OUT/partial-street.deb" >/dev/null
    mv "$OUT/partial-street.deb" "$deb"
    say "${deb#"$ROOT"/}: $(stat -c %s "$deb") bytes"
}
