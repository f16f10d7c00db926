//! TLS: the certificate with its key, read again when one of the files changes.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, fs};

use base::clock::{Clock as _, Instant, SystemClock};
use base::failure::SettingError;
use base::sync::lock;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

const CERTIFICATE: &str = "http.tls_certificate";
const KEY: &str = "http.tls_key";

/// Larger files are no certificates.
const LONGEST: u64 = 1 << 20;

/// Time between two looks at the files, while connections come.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What TLS is spoken with.
pub(super) struct Tls {
    certificate: String,
    key: String,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// Of the files as they were last read, also when that failed.
    stamp: Stamp,
    looked: Instant,
}

/// What changes with a file: device, inode, size and time, of both.
type Stamp = [Option<(u64, u64, u64, i64, i64)>; 2];

impl Tls {
    /// Reads both files; None where neither is configured.
    ///
    /// # Errors
    /// A file that can't be read or used, or a key of another certificate.
    pub(super) fn read(certificate: &str, key: &str) -> Result<Option<Self>, SettingError> {
        if certificate.is_empty() || key.is_empty() {
            return Ok(None);
        }
        let stamp = stamp(certificate, key);
        let config = load(certificate, key)?;
        let current = Mutex::new(Current { config, stamp, looked: SystemClock.now() });
        Ok(Some(Self { certificate: certificate.to_owned(), key: key.to_owned(), current }))
    }

    /// For the next handshake, with the certificate of now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = lock(&self.current);
        let now = SystemClock.now();
        if now.since(current.looked) >= LOOK_EVERY {
            current.looked = now;
            self.look(&mut current);
        }
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Reads the files again if they have changed. While one of them is half written, or of another certificate than the
    /// other, the old ones stay.
    fn look(&self, current: &mut Current) {
        let stamp = stamp(&self.certificate, &self.key);
        if stamp == current.stamp {
            return;
        }
        current.stamp = stamp;
        match load(&self.certificate, &self.key) {
            Ok(config) => {
                current.config = config;
                log::info!("http: {CERTIFICATE} {}: read again", self.certificate);
            }
            Err(error) => log::warn!("http: {error}; the certificate that was read before stays in use"),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

fn stamp(certificate: &str, key: &str) -> Stamp {
    [certificate, key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    })
}

fn load(certificate: &str, key: &str) -> Result<Arc<ServerConfig>, SettingError> {
    let bytes = super::token::read_file(LONGEST, certificate).map_err(|error| {
        SettingError::new(CERTIFICATE, certificate, format!("{error}; expected a certificate chain in PEM")).of(&error)
    })?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain
        .map_err(|error| SettingError::new(CERTIFICATE, certificate, unreadable(&error, "a certificate chain")))?;
    if chain.is_empty() {
        return Err(SettingError::new(CERTIFICATE, certificate, "no certificate is in it; expected a chain in PEM"));
    }
    let bytes = super::token::read_secret(KEY, LONGEST, key).map_err(|error| {
        SettingError::new(KEY, key, format!("{error}; expected the certificate's key in PEM")).of(&error)
    })?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| SettingError::new(KEY, key, unreadable(&error, "a private key without a password")))?;
    let unusable = |error| SettingError::new(KEY, key, format!("it can't be used with {certificate}: {error}"));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn unreadable(error: &pem::Error, expected: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("nothing of the kind is in it; expected {expected} in PEM"),
        error => format!("it can't be read: {error}; expected {expected} in PEM"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Puts a new certificate and its key there, each in one step.
    fn renew(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (name, text) in [("c", made.cert.pem()), ("k", made.signing_key.serialize_pem())] {
            put(folder, name, &text);
        }
    }

    fn put(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }

    fn paths(folder: &Path) -> [String; 2] {
        ["c", "k"].map(|name| folder.join(name).to_str().unwrap().to_owned())
    }

    /// What the next handshake gets, `later` or at once after the last look.
    fn current(tls: &Tls, later: bool) -> Arc<ServerConfig> {
        if later {
            tls.current.lock().unwrap().looked = Instant::default();
        }
        Arc::clone(tls.acceptor().config())
    }

    #[test]
    fn files_that_change_are_read_again_and_what_cannot_be_used_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        renew(folder.path());
        let [certificate, key] = paths(folder.path());
        let tls = Tls::read(&certificate, &key).unwrap().unwrap();
        let first = current(&tls, false);
        assert_eq!(first.alpn_protocols, [b"http/1.1"]);
        assert!(Arc::ptr_eq(&first, &current(&tls, true)), "nothing has changed");
        renew(folder.path());
        assert!(Arc::ptr_eq(&first, &current(&tls, false)), "looked at a moment ago");
        let second = current(&tls, true);
        assert!(!Arc::ptr_eq(&first, &second));
        // Half written, and then a key of another certificate.
        for name in ["c", "k"] {
            put(folder.path(), name, "half writ");
            assert!(Arc::ptr_eq(&second, &current(&tls, true)));
            renew(folder.path());
            let third = Arc::clone(&second);
            assert!(!Arc::ptr_eq(&third, &current(&tls, true)));
            tls.current.lock().unwrap().config = third;
        }
        let other = tempfile::tempdir().unwrap();
        renew(other.path());
        fs::rename(other.path().join("k"), folder.path().join("k")).unwrap();
        assert!(Arc::ptr_eq(&second, &current(&tls, true)));
        fs::remove_file(folder.path().join("k")).unwrap();
        assert!(Arc::ptr_eq(&second, &current(&tls, true)));
    }

    #[test]
    fn a_certificate_and_a_key_are_read_together_or_not_at_all() {
        for (certificate, key) in [("", ""), ("/c", ""), ("", "/k")] {
            assert!(Tls::read(certificate, key).unwrap().is_none(), "{certificate} {key}");
        }
        let folder = tempfile::tempdir().unwrap();
        renew(folder.path());
        let [certificate, key] = paths(folder.path());
        for (certificate, key, named, words) in [
            ("/nonexistent", key.as_str(), CERTIFICATE, "expected a certificate chain in PEM"),
            (&certificate, "/nonexistent", KEY, "expected the certificate's key in PEM"),
            (&key, &key, CERTIFICATE, "no certificate is in it"),
            (&certificate, &certificate, KEY, "nothing of the kind is in it; expected a private key"),
        ] {
            let error = Tls::read(certificate, key).unwrap_err();
            assert!(error.key == named && error.reason.contains(words), "{error}");
        }
    }
}
