//! What a running program holds: descriptors, threads, memory, children.
#![allow(dead_code, unreachable_pub)]

use super::Running;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// Resident memory.
    pub rss_kib: u64,
}

/// What the program holds now.
pub fn held(running: &Running) -> Held {
    let process = format!("/proc/{}", running.id());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    Held {
        descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
        threads: number("Threads:"),
        rss_kib: number("VmRSS:"),
    }
}

/// Its children, those that wait to be reaped among them.
pub fn children(running: &Running) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// Its worker processes whose name begins with `name`: `edgetpu` for devices, `cpu` for the model on the CPU.
pub fn workers(running: &Running, name: &str) -> Vec<u32> {
    let is_it = |id: &u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        words.next() == Some(b"worker") && words.next().is_some_and(|word| word.starts_with(name.as_bytes()))
    };
    children(running).into_iter().filter(is_it).collect()
}
