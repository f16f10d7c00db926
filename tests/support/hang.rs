//! One thread of the program that hangs in the kernel, as it does when a disk goes away: it is stopped by ptrace(2), which this
//! process may do to its children. Nothing that the program waits for can be made to hang any longer.
#![allow(unsafe_code)]

use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::mpsc::channel;

/// Stops the thread called `name` of the child `process` for the rest of its life.
#[track_caller]
pub fn thread(process: u32, name: &str) {
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    let is_it = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    let tasks = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path());
    let task = tasks.into_iter().find(is_it).unwrap_or_else(|| panic!("no thread {name}"));
    let id: libc::pid_t = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let (stopped, is_stopped) = channel();
    // A stopped thread belongs to the thread that stopped it, which must also take note of its end.
    std::thread::spawn(move || {
        let order = |request: libc::c_uint| {
            // SAFETY: these requests take neither an address nor data, and touch no memory of this process.
            unsafe { libc::ptrace(request, id, null_mut::<libc::c_void>(), null_mut::<libc::c_void>()) }
        };
        let outcome = [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT].map(order);
        let mut status = 0;
        // SAFETY: `status` outlives the calls.
        let mut wait = || unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) } == id && !libc::WIFEXITED(status);
        let _ = stopped.send(outcome == [0, 0] && wait());
        while wait() {}
    });
    assert!(is_stopped.recv().unwrap(), "the thread {name} can't be stopped");
}
