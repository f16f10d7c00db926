//! Threads that may wait: the pipeline's come first wherever the processor is short.

/// Nice value of a thread whose work somebody watches.
pub const SIDE: i32 = 10;
/// Nice value of a thread whose work can take its time: it gets what is left over.
pub const LAST: i32 = 19;

/// Lowers the calling thread's priority, as far as the system allows it. Threads that it starts afterwards inherit that.
pub fn lower(nice: i32) {
    // On Linux a nice value belongs to a thread, and no process means the calling one.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        let thread = std::thread::current();
        log::debug!("{}: the priority can't be lowered: {error}", thread.name().unwrap_or("a thread"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_gets_slower() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let theirs = std::thread::spawn(move || {
            lower(LAST);
            rustix::process::getpriority_process(None).unwrap()
        });
        assert_eq!(theirs.join().unwrap(), LAST);
        assert_eq!(nice(), before);
    }
}
