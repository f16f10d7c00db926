//! Small files of sysfs: reading them, and the names that are made of what stands in them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes that are read of a file: a page, which is what one of sysfs has at most.
const LONGEST: u64 = 4096;
/// Letters of a name.
const LONGEST_NAME: usize = 64;

/// What stands in `path`, without blanks around it; or why it can't be read, with the path.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0').to_owned())
}

/// The whole number in `path`.
pub(super) fn number(path: &Path) -> Result<i64, String> {
    let text = text(path)?;
    text.parse().map_err(|_| format!("{}: {text:?} is no whole number", path.display()))
}

/// The number in `path`, which may have a fraction. Always finite.
pub(super) fn decimal(path: &Path) -> Result<f64, String> {
    let text = text(path)?;
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| format!("{}: {text:?} is no number", path.display()))
}

/// The folders and links in `folder` whose names begin with `prefix`, `hwmon2` before `hwmon10`.
pub(super) fn folders(root: &Path, folder: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| name(path).starts_with(prefix)).collect();
    found.sort_by_cached_key(|path| (name(path).len(), name(path)));
    found
}

/// The last part of a path.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The device that a folder of a class belongs to, by its name on its bus: `1-0040`. That stays when the driver is loaded
/// again, and the folder's own number does not.
pub(super) fn device(folder: &Path) -> Option<String> {
    let device = fs::canonicalize(folder.join("device")).ok()?;
    Some(word(&name(&device))).filter(|name| !name.is_empty())
}

/// The name that stands in a file of `folder`, if there is one.
pub(super) fn label(folder: &Path, file: &str) -> Option<String> {
    Some(word(&text(&folder.join(file)).ok()?)).filter(|name| !name.is_empty())
}

/// `text` as a name that can stand in a log line, in a list with commas and in a label.
pub(super) fn word(text: &str) -> String {
    let is_bad = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '=' | ',' | '"');
    let letters = text.trim().chars().map(|letter| if is_bad(letter) { '_' } else { letter });
    letters.take(LONGEST_NAME).collect()
}

/// A name that none of `taken` has: `wanted`, else with the device, else with a number.
pub(super) fn unique(wanted: &str, device: &str, taken: impl Fn(&str) -> bool) -> String {
    let with_device = format!("{wanted}@{device}");
    let numbered = (2u32..).map(|number| format!("{wanted}#{number}"));
    let mut names = [wanted.to_owned(), with_device].into_iter().chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_default()
}

/// What the device tree calls the board; empty where there is none.
pub(super) fn model(root: &Path) -> String {
    text(&root.join("sys/firmware/devicetree/base/model")).unwrap_or_default()
}

/// Whether that is a Raspberry Pi.
pub(super) fn is_pi(model: &str) -> bool {
    model.starts_with("Raspberry Pi")
}

/// Whether it is one with a power chip that measures.
pub(super) fn is_pi_5(model: &str) -> bool {
    let boards = ["Raspberry Pi 5", "Raspberry Pi Compute Module 5"];
    boards.iter().any(|board| model.starts_with(board))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_a_log_line() {
        assert_eq!(word(" Package id 0\n"), "Package_id_0");
        assert_eq!(word("a=b,c\"d\u{1b}e"), "a_b_c_d_e");
        assert_eq!(word(&"x".repeat(1000)).len(), LONGEST_NAME);
    }

    #[test]
    fn text_is_that_of_a_page_without_blanks_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        for (bytes, expected) in [
            (&b"Raspberry Pi 5\0"[..], "Raspberry Pi 5"),
            (b" a b\t\n", "a b"),
            (b"\0 \n", ""),
            (b"a\0b", "a\0b"),
            (b"\xff", "\u{fffd}"),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(text(&path).as_deref(), Ok(expected));
        }
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(text(&path).unwrap().len(), 4096);
        assert!(text(folder.path()).unwrap_err().starts_with(&folder.path().display().to_string()));
    }

    #[test]
    fn folders_are_in_the_order_of_their_numbers() {
        let root = tempfile::tempdir().unwrap();
        for name in ["hwmon10", "hwmon2", "hwmon1", "thermal_zone0"] {
            fs::create_dir_all(root.path().join("class").join(name)).unwrap();
        }
        let names = |folder: &str, prefix: &str| {
            let found = folders(root.path(), folder, prefix);
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("class", "hwmon"), ["class/hwmon1", "class/hwmon2", "class/hwmon10"]);
        assert_eq!(names("class", "").len(), 4);
        assert!(names("nothing", "").is_empty());
    }

    #[test]
    fn a_folder_has_its_device_and_its_labels_where_they_are_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("hwmon0");
        fs::create_dir_all(root.path().join("1-0040")).unwrap();
        fs::create_dir(&folder).unwrap();
        assert_eq!((device(&folder), label(&folder, "label")), (None, None));
        std::os::unix::fs::symlink("../1-0040", folder.join("device")).unwrap();
        fs::write(folder.join("label"), "vdd main\n").unwrap();
        assert_eq!(
            (device(&folder).as_deref(), label(&folder, "label").as_deref()),
            (Some("1-0040"), Some("vdd_main"))
        );
        fs::write(folder.join("label"), "\n").unwrap();
        assert_eq!(label(&folder, "label"), None);
        fs::remove_file(folder.join("device")).unwrap();
        std::os::unix::fs::symlink("/", folder.join("device")).unwrap();
        assert_eq!(device(&folder), None, "a name that is empty is none");
    }

    #[test]
    fn a_second_of_a_name_is_told_apart_by_its_device() {
        let mut taken: Vec<String> = Vec::new();
        for _ in 0..3 {
            let name = unique("vdd", "1-0040", |name| taken.iter().any(|other| other == name));
            taken.push(name);
        }
        assert_eq!(taken, ["vdd", "vdd@1-0040", "vdd#2"]);
    }

    #[test]
    fn boards_with_a_measuring_power_chip_are_known_by_their_model() {
        for model in
            ["Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 500 Rev 1.0", "Raspberry Pi Compute Module 5 Rev 1.0"]
        {
            assert!(is_pi(model) && is_pi_5(model), "{model}");
        }
        for model in
            ["Raspberry Pi 4 Model B Rev 1.5", "Raspberry Pi Compute Module 4 Rev 1.0", "Raspberry Pi 400 Rev 1.0"]
        {
            assert!(is_pi(model) && !is_pi_5(model), "{model}");
        }
        assert!(!is_pi("Coral Dev Board") && !is_pi(""));
    }

    #[test]
    fn what_is_no_number_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temp");
        for (text, words) in
            [("", "is no whole number"), ("hot\n", "\"hot\" is no whole number"), ("1e3\n", "is no whole")]
        {
            fs::write(&path, text).unwrap();
            let error = number(&path).unwrap_err();
            assert!(error.contains(words) && error.contains("/temp: "), "{error}");
        }
        for text in ["nan", "inf", "-inf", "1e999", "x"] {
            fs::write(&path, text).unwrap();
            assert!(decimal(&path).unwrap_err().contains("is no number"), "{text}");
        }
        fs::write(&path, " -89700\n").unwrap();
        assert_eq!((number(&path), decimal(&path)), (Ok(-89_700), Ok(-89_700.0)));
        fs::remove_file(&path).unwrap();
        assert!(number(&path).unwrap_err().contains("No such file"));
    }
}
