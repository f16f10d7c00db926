//! The signals that this process takes.
#![allow(unsafe_code)]

/// Lets all signals through, as at the start of a process they should be: what starts this one may have blocked some for itself,
/// and the mask is inherited. To be called before the first thread.
pub fn unblock() {
    // SAFETY: an empty set is made, and the mask of this thread is set to it; nothing is read back.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
