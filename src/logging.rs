//! Starts the program's own log on standard error.
//!
//! Under systemd each line carries its priority as `<N>` and no time stamp, since the journal has its own; elsewhere it
//! carries time and level.

use std::io::Write as _;

use log::{Level, Record};

/// Starts the log with a filter such as `info`. A second call changes nothing.
pub fn start(filter: &str) {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter).target(env_logger::Target::Stderr);
    if to_journal() {
        builder.format(|out, record| {
            let text = record.args().to_string();
            text.lines().try_for_each(|line| writeln!(out, "<{}>{line}", priority(record)))
        });
    } else {
        builder.format_target(false).format_timestamp_millis();
    }
    // Only a logger that is already there makes this fail.
    let _ = builder.try_init();
}

/// True when standard error is the journal's own stream: systemd says which device and inode that is.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(rustix::stdio::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// syslog's priorities, as sd-daemon(3) prescribes.
fn priority(record: &Record<'_>) -> u8 {
    match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
