//! Edge TPUs as things with a plug: which ones this machine sees ([`look`]), whether they can be opened, and what a person
//! can do about a fault ([`advice`]). Running a model on them is left to the workers.

mod advice;
mod hardware;
mod sight;
mod survey;

use std::path::PathBuf;

pub use advice::advice;
pub use sight::name_of;
pub use sight::{look, Access, Card, Sight, Stick, StickState};
pub use survey::{Found, Library, Survey};

/// The folder that `/sys` and `/dev` are looked for in: `PSPNETD_ROOT`, for tests with a tree of their own, else `/`.
pub fn root() -> PathBuf {
    std::env::var_os("PSPNETD_ROOT").filter(|root| !root.is_empty()).map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A tree of files in place of `/sys` and `/dev`.
    pub(super) struct Tree(tempfile::TempDir);

    impl Default for Tree {
        fn default() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
    }

    impl Tree {
        pub(super) fn root(&self) -> &Path {
            self.0.path()
        }

        pub(super) fn write(&self, path: &str, text: &str) {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(super) fn remove(&self, path: &str) {
            fs::remove_file(self.root().join(path)).unwrap();
        }

        /// A USB device at `port`, with its node.
        pub(super) fn stick(&self, port: &str, vendor: &str, product: &str, bus: &str, device: &str, speed: &str) {
            let values =
                [("idVendor", vendor), ("idProduct", product), ("busnum", bus), ("devnum", device), ("speed", speed)];
            for (name, value) in values {
                self.write(&format!("sys/bus/usb/devices/{port}/{name}"), &format!("{value}\n"));
            }
            self.write(&format!("dev/bus/usb/{bus:0>3}/{device:0>3}"), "");
        }

        /// A card, with its node.
        pub(super) fn card(&self, number: u32, status: &str, temperature: &str, is_owned: &str, owner: &str) {
            let values =
                [("status", status), ("temp", temperature), ("is_device_owned", is_owned), ("device_owner", owner)];
            for (name, value) in values {
                self.write(&format!("sys/class/apex/apex_{number}/{name}"), &format!("{value}\n"));
            }
            self.write(&format!("dev/apex_{number}"), "");
        }
    }
}
