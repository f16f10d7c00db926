//! Secrets that systemd hands over (`LoadCredential=`): `credential:NAME` where a path is expected.

use std::path::{Path, PathBuf};

use super::Http;

/// How such a value begins.
pub(super) const PREFIX: &str = "credential:";
/// Where the package's unit takes them from. Only root reads it.
const INSTALLED: &str = "/etc/pspnetd/credentials";
/// What systemd puts before the name of a file there: the unit's name for the folder.
const ID: &str = "pspnetd_";

impl Http {
    /// With paths in the place of credentials.
    ///
    /// # Errors
    /// The first key whose credential systemd did not hand over, and what to do.
    pub(crate) fn with_credentials(&self) -> Result<Self, (&'static str, String)> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let mut resolved = self.clone();
        for (key, value) in resolved.secrets() {
            if let Some(name) = value.strip_prefix(PREFIX) {
                let path = path(name, folder.as_deref()).map_err(|reason| (key, reason))?;
                *value = path.to_string_lossy().into_owned();
            }
        }
        Ok(resolved)
    }

    /// The first key with something that is no credential's name, and why.
    pub(super) fn wrong_credential(&self) -> Option<(&'static str, String)> {
        self.clone().secrets().into_iter().find_map(|(key, value)| {
            if let Some(name) = value.strip_prefix("credentials:") {
                return Some((key, format!("did you mean {PREFIX}{name}?")));
            }
            let name = value.strip_prefix(PREFIX)?;
            let is_good = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
            (!is_good).then(|| (key, format!("credential {name:?}: expected the name of a file in {INSTALLED}")))
        })
    }

    fn secrets(&mut self) -> [(&'static str, &mut String); 3] {
        [
            ("http.token_file", &mut self.token_file),
            ("http.tls_certificate", &mut self.tls_certificate),
            ("http.tls_key", &mut self.tls_key),
        ]
    }
}

/// Whether `path` is where only root reads.
pub(crate) fn is_roots(path: &str) -> bool {
    Path::new(path).starts_with(INSTALLED)
}

fn path(name: &str, folder: Option<&Path>) -> Result<PathBuf, String> {
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

    #[test]
    fn a_credential_is_a_file_that_systemd_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        std::fs::write(inside("pspnetd_key.pem"), "").unwrap();
        std::fs::write(inside("own"), "").unwrap();
        let of = |name| path(name, Some(folder.path()));
        assert_eq!(of("key.pem"), Ok(inside("pspnetd_key.pem")));
        assert_eq!(of("own"), Ok(inside("own")), "one that a drop-in names");
        let missing = of("other").unwrap_err();
        assert!(missing.contains("no credential \"other\"") && missing.contains(INSTALLED), "{missing}");
        assert_eq!(path("token", None), Ok(Path::new(INSTALLED).join("token")));
    }

    #[test]
    fn what_is_no_name_is_told_with_its_key() {
        let wrong = |value: &str| Http { tls_key: value.to_owned(), ..Http::default() }.wrong_credential();
        for fine in ["", "key.pem", "/etc/key.pem", "credential:key.pem"] {
            assert_eq!(wrong(fine), None, "{fine}");
        }
        for bad in ["credential:", "credential:../x", "credential:a/b", "credential:.x"] {
            let (key, reason) = wrong(bad).unwrap();
            assert!(key == "http.tls_key" && reason.contains("expected the name of a file"), "{bad}: {reason}");
        }
        assert_eq!(wrong("credentials:x").unwrap().1, "did you mean credential:x?");
    }
}
