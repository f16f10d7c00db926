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
    let others = ["notes.txt", "other.png", "other.png.partial", "overlay-1.png.partial", "overlay-1.png.partial.gz"];
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
