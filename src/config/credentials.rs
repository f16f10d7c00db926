//! Secrets that systemd hands over (`LoadCredential=`): `credential:NAME` where a path is expected.

use std::path::{Path, PathBuf};

use super::Http;

/// How such a value begins.
pub(super) const PREFIX: &str = "credential:";
/// Where the package's unit takes them from. Only root reads it.
const INSTALLED: &str = "/etc/pspnetd/credentials";
/// What systemd puts before the name of a file there: the unit's name for the folder.
const ID: &str = "pspnetd_";

/// Makes paths of the credentials that `http` names. `folder` is where systemd put them, if it did.
///
/// # Errors
/// The first key whose credential can't be meant, and why.
pub(super) fn resolve(http: &mut Http, folder: Option<&Path>) -> Result<(), (&'static str, String)> {
    for (key, value) in [
        ("http.token_file", &mut http.token_file),
        ("http.tls_certificate", &mut http.tls_certificate),
        ("http.tls_key", &mut http.tls_key),
    ] {
        if let Some(name) = value.strip_prefix(PREFIX) {
            *value = path(name, folder).map_err(|reason| (key, reason))?.to_string_lossy().into_owned();
        }
    }
    Ok(())
}

fn path(name: &str, folder: Option<&Path>) -> Result<PathBuf, String> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(format!("credential {name:?}: expected the name of a file in {INSTALLED}"));
    }
    // By hand, as in `sudo pspnetd check`, there is no such folder.
    let Some(folder) = folder else { return Ok(Path::new(INSTALLED).join(name)) };
    let found = [folder.join(format!("{ID}{name}")), folder.join(name)].into_iter().find(|path| path.exists());
    found.ok_or_else(|| {
        format!(
            "systemd handed over no credential {name:?}: put the file into {INSTALLED} and restart the service, or name it in \
             LoadCredential="
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(value: &str, folder: Option<&Path>) -> Result<String, String> {
        let mut http = Http { tls_key: value.to_owned(), ..Http::default() };
        resolve(&mut http, folder).map_err(|(key, reason)| format!("{key}: {reason}"))?;
        Ok(http.tls_key)
    }

    #[test]
    fn a_credential_is_a_file_that_systemd_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("pspnetd_key.pem"), "").unwrap();
        std::fs::write(path("own"), "").unwrap();
        let of = |value| resolved(value, Some(folder.path()));
        assert_eq!(of("credential:key.pem"), Ok(path("pspnetd_key.pem")));
        assert_eq!(of("credential:own"), Ok(path("own")), "one that a drop-in names");
        assert_eq!(of("/etc/key.pem"), Ok("/etc/key.pem".to_owned()));
        let missing = of("credential:other").unwrap_err();
        assert!(missing.starts_with("http.tls_key: ") && missing.contains("/etc/pspnetd/credentials"), "{missing}");
        for bad in ["credential:", "credential:../x", "credential:a/b", "credential:.x"] {
            assert!(of(bad).unwrap_err().contains("expected the name of a file"), "{bad}");
        }
    }

    #[test]
    fn without_systemd_it_is_where_the_unit_takes_it_from() {
        assert_eq!(resolved("credential:token", None), Ok("/etc/pspnetd/credentials/token".to_owned()));
    }
}
