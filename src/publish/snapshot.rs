//! Overlay pictures in a folder, one every so often.
//!
//! The publish thread only copies; a thread of this sink's own draws, encodes and writes. The capture thread makes the
//! RGB picture when [`SnapshotGate`] says that one is due, so that nothing is converted that nobody wants.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::failure::{Failure, SettingError};
use base::line_file::{remedy, takes_files, LONGEST_NAME};
use base::logging::FIGURES;
use base::outbox::{Carrier, Closing, Fate, Outbox, OutboxHealth, Words};
use jiff::Timestamp;
use model::Edition;
use pixels::frame::Size;

use super::plug::{Context, Plug, Plugged};
use super::requests::SnapshotGate;
use super::{images, PictureGate, Sink};
use crate::config::{Config, Snapshot};
use crate::scene::Outcome;

const KEY: &str = "publish.snapshot.dir";
/// Pictures under way: one that is written, and the next.
const PICTURES: usize = 2;
/// A picture takes some megabytes, and the next may come in hours.
const WORDS: Words = Words {
    name: "snapshot",
    items: "pictures",
    slow: "the one before is still being written",
    rest_after: Some(Duration::from_secs(10)),
};

/// A picture on its way to the writer.
#[derive(Debug, Default)]
struct Job {
    picture: Vec<u8>,
    mask: Vec<u8>,
    size: Size,
    /// None before the first.
    edition: Option<Arc<Edition>>,
    time: Timestamp,
}

/// The sink's half in the publish thread.
pub struct SnapshotSink {
    outbox: Outbox<Job>,
    gate: Arc<SnapshotGate>,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl SnapshotSink {
    /// Makes the folder and starts the writer. None where `config` turns the sink off.
    ///
    /// # Errors
    /// When the folder can't be made or written for a reason that waiting doesn't mend.
    pub fn open(
        config: &Snapshot,
        gate: Arc<SnapshotGate>,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, SettingError> {
        Self::open_with(config, gate, clock, images::write_rgb)
    }

    fn open_with(
        config: &Snapshot,
        gate: Arc<SnapshotGate>,
        clock: Arc<dyn Clock>,
        write: Write,
    ) -> Result<Option<Self>, SettingError> {
        if config.dir.is_empty() {
            return Ok(None);
        }
        let folder = PathBuf::from(&config.dir);
        usable(&folder, std::fs::create_dir_all(&folder).and_then(|()| takes_files(&folder)))?;
        remove_partial(&folder);
        prune(&folder, config.keep);
        let writer = PictureWriter { folder, keep: config.keep, write, next: None, is_failing: false };
        let outboxes = Outbox::start(WORDS, &[PICTURES], writer).map_err(|error| {
            SettingError::new(KEY, config.dir.clone(), format!("no thread can be started: {error}")).of(&error)
        })?;
        let interval = config.interval.0;
        Ok(outboxes.into_iter().next().map(|outbox| Self { outbox, gate, clock, interval }))
    }
}

/// Sorts what was found of `folder`: an error that another configuration mends is one; a disk that is full or can't be written
/// now is waited for.
fn usable(folder: &Path, found: io::Result<()>) -> Result<(), SettingError> {
    let Err(error) = found else { return Ok(()) };
    let reason = match error.kind() {
        ErrorKind::AlreadyExists => "it is there, and is not a directory".to_owned(),
        _ if remedy(&error).is_some() => error.to_string(),
        _ => {
            log::warn!("snapshot: {}: {error}; trying again with every picture", folder.display());
            return Ok(());
        }
    };
    Err(SettingError::new(KEY, folder.display().to_string(), reason))
}

/// Whether `folder` takes files, or can be made: then the nearest folder above it that is there counts. Makes nothing.
fn can_be_made(folder: &Path) -> io::Result<()> {
    // Only what is there is looked up, so a name that no folder can have is found here.
    if folder.file_name().is_some_and(|name| name.len() > LONGEST_NAME) {
        return Err(rustix::io::Errno::NAMETOOLONG.into());
    }
    // An empty path is what remains of a relative one.
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match (here.symlink_metadata(), here.parent()) {
        (Err(error), Some(above)) if error.kind() == ErrorKind::NotFound => can_be_made(above),
        (Err(error), _) => Err(error),
        // Through a link, so that one to nowhere, or to itself, is an error.
        (Ok(_), _) => takes_files(here),
    }
}

/// Snapshots as a plug.
#[derive(Debug)]
pub struct SnapshotPlug;

impl Plug for SnapshotPlug {
    fn name(&self) -> &'static str {
        "sinks"
    }

    fn check(&self, config: &Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        let dir = &config.publish.snapshot.dir;
        if !dir.is_empty() {
            usable(Path::new(dir), can_be_made(Path::new(dir)))?;
        }
        Ok(None)
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        let gate = Arc::clone(&context.requests.snapshot);
        let sink = SnapshotSink::open(&context.config.publish.snapshot, Arc::clone(&gate), Arc::clone(&context.clock))?;
        Ok(sink.map(|sink| Plugged { gate: Some(gate), ..Plugged::sink(sink) }).unwrap_or_default())
    }
}

impl Sink for SnapshotSink {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn publish(&mut self, outcome: &Outcome) {
        let now = self.clock.now();
        let Some(picture) = outcome.picture().filter(|_| self.gate.is_due(now)) else { return };
        self.gate.postpone(now.after(self.interval));
        self.outbox.put(|job| {
            job.picture.clear();
            job.picture.extend_from_slice(picture);
            job.mask.clone_from(&outcome.mask);
            job.size = outcome.size;
            job.edition = Some(Arc::clone(&outcome.edition));
            job.time = outcome.time;
        });
    }

    fn health(&self) -> OutboxHealth {
        self.outbox.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        self.outbox.close(closing)
    }
}

/// Draws, encodes and writes.
struct PictureWriter {
    folder: PathBuf,
    keep: u32,
    write: Write,
    /// The number of the next picture; None while the folder has to be looked at for it.
    next: Option<u64>,
    is_failing: bool,
}

/// What writes a picture of this size.
type Write = fn(&Path, &[u8], Size) -> io::Result<()>;

impl Carrier<Job> for PictureWriter {
    fn carry(&mut self, job: &mut Job) -> Fate {
        let Some(edition) = job.edition.take() else { return Fate::Lost };
        images::overlay(&mut job.picture, &job.mask, &edition.labels);
        match self.put(job) {
            Ok(path) => {
                if std::mem::take(&mut self.is_failing) {
                    log::info!("snapshot: {}: writing again", self.folder.display());
                }
                log::info!(target: FIGURES, "snapshot: {}", path.display());
                Fate::Carried
            }
            Err((path, error)) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::error!(
                        "snapshot: {}: {error}; pictures are lost and counted until it can be written",
                        path.display()
                    );
                }
                // Another disk may lie there by then.
                self.next = None;
                Fate::Lost
            }
        }
    }
}

impl PictureWriter {
    fn put(&mut self, job: &Job) -> Result<PathBuf, (PathBuf, io::Error)> {
        if !self.folder.exists() {
            std::fs::create_dir_all(&self.folder).map_err(|error| (self.folder.clone(), error))?;
            log::warn!("snapshot: the folder {} was gone; it is made anew", self.folder.display());
        }
        let number = self
            .next
            .unwrap_or_else(|| pictures(&self.folder).last().map_or(0, |(number, _)| number.saturating_add(1)));
        let stamp = format!("{:.3}", job.time).replace([':', '-'], "");
        let path = self.folder.join(format!("overlay-{number:06}-{stamp}.png"));
        let write = || (self.write)(&path, &job.picture, job.size);
        let written = match write() {
            // A disk that has room for no more than those that are kept: the oldest goes first.
            Err(error) if is_full(&error) && prune(&self.folder, self.keep.saturating_sub(1)) => write(),
            other => other,
        };
        written.map_err(|error| (path.clone(), error))?;
        self.next = Some(number.saturating_add(1));
        prune(&self.folder, self.keep);
        Ok(path)
    }
}

/// Our files in `folder` that end in `ending`, each with its number.
fn ours(folder: &Path, ending: &str) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.filter_map(|entry| Some((number(entry.file_name().to_str()?, ending)?, entry.path()))).collect()
}

/// The pictures in `folder` in the order in which they were written, each with its number. The time in a name can't tell: a board
/// without a clock of its own wakes up in the past, and one whose clock was wrong in the future. Pictures of earlier versions, which
/// have no number, come first.
fn pictures(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut pictures = ours(folder, ".png");
    pictures.sort();
    pictures
}

/// The number of `overlay-NUMBER-TIME.png`; 0 of `overlay-TIME.png`. Files with other names are somebody else's.
fn number(name: &str, ending: &str) -> Option<u64> {
    let rest = name.strip_prefix("overlay-")?.strip_suffix(ending)?;
    let (number, time) = rest.split_once('-').unwrap_or(("000000", rest));
    let is_time = |text: &str| {
        let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
        parts.is_some_and(|(day, time)| !day.is_empty() && !time.is_empty())
            && text.bytes().all(|byte| b"0123456789.TZ".contains(&byte))
    };
    let is_number = number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && is_time(time)).then(|| number.parse().ok()).flatten()
}

/// Deletes the oldest pictures past `keep`, where 0 keeps all; whether there were any.
fn prune(folder: &Path, keep: u32) -> bool {
    if keep == 0 {
        return false;
    }
    let pictures = pictures(folder);
    let old = pictures.iter().rev().skip(keep as usize);
    old.map(|(_, old)| remove(old)).count() > 0
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Deletes what a stop in the middle of a write left behind.
fn remove_partial(folder: &Path) {
    ours(folder, ".png.partial").iter().for_each(|(_, path)| remove(path));
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        log::warn!("snapshot: {} can't be deleted: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;
    use base::values::Seconds;

    struct Bench {
        folder: Arc<tempfile::TempDir>,
        dir: PathBuf,
        clock: Arc<ManualClock>,
        sink: SnapshotSink,
        gate: Arc<SnapshotGate>,
    }

    impl Bench {
        /// A sink that keeps `keep` pictures, one every 10 s, in a folder that has `files` already.
        fn new(keep: u32, files: &[&str]) -> Self {
            Self::with(keep, files, images::write_rgb)
        }

        fn with(keep: u32, files: &[&str], write: Write) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("new");
            if !files.is_empty() {
                std::fs::create_dir(&dir).unwrap();
            }
            files.iter().for_each(|name| std::fs::write(dir.join(name), "").unwrap());
            let clock = Arc::new(ManualClock::default());
            let config = Snapshot { dir: dir.to_string_lossy().into_owned(), interval: Seconds::new(10), keep };
            let gate = Arc::<SnapshotGate>::default();
            let sink = SnapshotSink::open_with(&config, Arc::clone(&gate), clock.clone(), write).unwrap().unwrap();
            Self { folder: Arc::new(folder), dir, clock, sink, gate }
        }

        fn publish(&mut self) {
            let mut outcome = Outcome::example().sized(Size::new(2, 1), 0, Some(9));
            outcome.mask[1] = 1;
            outcome.time = self.clock.wall();
            self.sink.publish(&outcome);
        }

        /// The file of the picture with this number, if it is taken now.
        fn picture(&self, number: u64) -> PathBuf {
            self.dir.join(file(number, self.clock.wall().as_second()))
        }

        fn close(self, closing: Closing) -> OutboxHealth {
            Box::new(self.sink).close(closing)
        }
    }

    /// The name of the picture with this number, taken so many seconds after the start of 1970, less than 100.
    fn file(number: u64, second: i64) -> String {
        format!("overlay-{number:06}-19700101T{second:06}.000Z.png")
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn wait_for(mut is_so: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn pictures_come_at_the_interval_and_old_ones_go() {
        for (keep, left) in [(0, &[0, 10, 20, 30][..]), (1, &[30]), (2, &[20, 30]), (9, &[0, 10, 20, 30])] {
            let mut bench = Bench::new(keep, &[]);
            for second in 0..35 {
                let is_due = second % 10 == 0;
                assert_eq!(bench.gate.is_due(bench.clock.now()), is_due, "second {second}");
                bench.publish();
                wait_for(|| !is_due || bench.picture(second / 10).exists());
                bench.clock.advance(Duration::from_secs(1));
            }
            let (_folder, dir) = (Arc::clone(&bench.folder), bench.dir.clone());
            assert_eq!(bench.close(Closing::Drain), OutboxHealth::default());
            let left: Vec<String> = left.iter().map(|&second| file(second / 10, second as i64)).collect();
            assert_eq!(names(&dir), left, "{keep} are kept");
        }
    }

    #[test]
    fn what_the_last_run_left_half_written_goes_at_start_and_nothing_else() {
        let others =
            ["notes.txt", "other.png", "other.png.partial", "overlay-1.png.partial", "overlay-1.png.partial.gz"];
        let halves = ["overlay-19700101T000000.000Z.png.partial", "overlay-000003-19700101T000000.000Z.png.partial"];
        let bench = Bench::new(1, &[&others[..], &halves].concat());
        assert_eq!(names(&bench.dir), others);
    }

    #[test]
    fn only_pictures_of_this_program_are_pruned() {
        let (others, old) =
            (["other.png", "overlay-000009-me.png", "overlay-18446744073709551615-holiday.png"], file(0, 0));
        let mut bench = Bench::new(1, &[&others[..], &[&*old]].concat());
        // A folder is no picture, whatever it is called.
        std::fs::create_dir(bench.dir.join(file(7, 7))).unwrap();
        bench.publish();
        wait_for(|| !bench.dir.join(&old).exists());
        assert_eq!(names(&bench.dir), [others[0], &file(1, 0), &file(7, 7), others[1], others[2]]);
    }

    #[test]
    fn a_folder_that_could_be_made_is_told_from_one_that_could_not_and_nothing_is_made() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        std::os::unix::fs::symlink(path("round"), path("round")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        std::fs::write(path("file"), "").unwrap();
        let long = "x".repeat(300);
        for (name, expected) in [("", true), ("a/b/c", true), ("round", false), ("dangling", false)] {
            assert_eq!(can_be_made(&path(name)).is_ok(), expected, "{name}");
        }
        for name in [long.as_str(), "round/a", "file/a", "file", &format!("a/{long}/b")] {
            assert!(can_be_made(&path(name)).is_err(), "{name}");
        }
        assert!(can_be_made(Path::new("a/b")).is_ok());
        assert!(!path("a").exists());
    }

    #[test]
    fn a_picture_that_cannot_be_written_is_counted_and_a_folder_that_is_gone_is_made_anew() {
        let mut bench = Bench::new(0, &[]);
        std::fs::remove_dir(&bench.dir).unwrap();
        bench.publish();
        wait_for(|| bench.picture(0).exists());
        assert_eq!(bench.sink.health(), OutboxHealth::default());
        std::fs::remove_dir_all(&bench.dir).unwrap();
        std::fs::write(&bench.dir, "in the way").unwrap();
        for dropped in 1..=2 {
            bench.clock.advance(Duration::from_secs(10));
            bench.publish();
            wait_for(|| bench.sink.health().dropped == dropped);
        }
        // What lies there afterwards is another disk, with pictures of its own.
        std::fs::remove_file(&bench.dir).unwrap();
        std::fs::create_dir(&bench.dir).unwrap();
        std::fs::write(bench.dir.join(file(41, 0)), "").unwrap();
        bench.clock.advance(Duration::from_secs(10));
        bench.publish();
        wait_for(|| bench.picture(42).exists());
        assert_eq!(bench.close(Closing::Drain).dropped, 2);
    }

    #[test]
    fn what_is_past_keep_goes_at_the_start() {
        let bench = Bench::new(2, &[&*file(1, 0), &*file(2, 0), &*file(3, 0)]);
        assert_eq!(pictures(&bench.dir).into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn on_a_disk_with_room_for_no_more_than_those_kept_the_oldest_makes_room() {
        fn write(path: &Path, _: &[u8], _: Size) -> io::Result<()> {
            if pictures(path.parent().unwrap()).len() >= 3 {
                return Err(ErrorKind::StorageFull.into());
            }
            std::fs::write(path, "")
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let mut writer = PictureWriter { folder: dir.clone(), keep: 3, write, next: None, is_failing: false };
        let job = || Job {
            picture: vec![0; 3],
            mask: vec![0],
            size: Size::new(1, 1),
            time: jiff::Timestamp::UNIX_EPOCH,
            edition: None,
        };
        for number in 0..5 {
            assert!(writer.put(&job()).is_ok(), "{number}");
        }
        assert_eq!(pictures(&dir).into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [2, 3, 4]);
        // Where all are kept, none goes.
        writer.keep = 0;
        assert_eq!(writer.put(&job()).unwrap_err().1.kind(), ErrorKind::StorageFull);
        assert_eq!(pictures(&dir).len(), 3);
    }

    #[test]
    fn a_writer_that_hangs_costs_pictures_and_does_not_hold_the_stop() {
        /// Opening a pipe that nobody reads waits for ever.
        fn waiting(path: &Path, pixels: &[u8], size: Size) -> io::Result<()> {
            let pipe = path.with_file_name("pipe");
            if pipe.exists() {
                drop(std::fs::OpenOptions::new().write(true).open(&pipe)?);
                std::fs::remove_file(pipe)?;
            }
            images::write_rgb(path, pixels, size)
        }

        let mut bench = Bench::with(0, &[], waiting);
        let pipe = bench.dir.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        bench.publish();
        // One more waits, and the others are dropped.
        for dropped in [0, 1, 2] {
            bench.clock.advance(Duration::from_secs(10));
            bench.publish();
            assert_eq!(bench.sink.health().dropped, dropped);
        }
        let (folder, dir) = (Arc::clone(&bench.folder), bench.dir.clone());
        // The two that are not written are lost as well.
        assert_eq!(bench.close(Closing::Within(Duration::from_millis(10))).dropped, 4);
        // Lets the writer come to its end before the folder goes.
        drop(std::fs::File::open(&pipe).unwrap());
        wait_for(|| names(&dir).contains(&file(1, 10)));
        drop(folder);
    }

    #[test]
    fn pictures_go_in_the_order_in_which_they_were_written_whatever_the_clock_said() {
        let folder = tempfile::tempdir().unwrap();
        // Of a version without numbers; in the future; before the clock was set; after.
        let old = ["overlay-20371231T235959.000Z.png", "overlay-20361231T235959.000Z.png"];
        let new = ["overlay-000001-20991231T235959.000Z.png", "overlay-000002-19700101T000010.000Z.png"];
        let newest = "overlay-1000000-20261201T120000.000Z.png";
        for name in old.iter().chain(&new).chain([&newest, &"overlay-000003-19700101T000020.000Z.png.partial"]) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_partial(folder.path());
        for (keep, left) in [(4, vec![new[0], new[1], newest, old[0]]), (2, vec![new[1], newest]), (1, vec![newest])] {
            prune(folder.path(), keep);
            assert_eq!(names(folder.path()), left);
        }
        assert_eq!(pictures(folder.path())[0].0, 1_000_000);
    }

    #[test]
    fn a_disk_that_takes_nothing_now_is_waited_for_and_a_path_that_never_will_is_refused() {
        let found = |errno: rustix::io::Errno| usable(Path::new("/x"), Err(errno.into()));
        use rustix::io::Errno;
        for errno in [Errno::ROFS, Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::NODEV] {
            assert_eq!(found(errno), Ok(()), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOTDIR, Errno::EXIST, Errno::NAMETOOLONG, Errno::LOOP] {
            assert!(found(errno).is_err(), "{errno}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let config = Snapshot { dir: "/proc/nope".to_owned(), ..Snapshot::default() };
        let error = SnapshotSink::open(&config, Arc::default(), Arc::new(ManualClock::default())).err().unwrap();
        assert!(error.to_string().starts_with("publish.snapshot.dir /proc/nope: "), "{error}");
    }
}
