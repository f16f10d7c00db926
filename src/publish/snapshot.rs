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
mod tests;
