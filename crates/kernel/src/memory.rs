//! How this process holds its memory.

use nix::sys::prctl;

/// Gives memory that is freed back to the kernel within a tenth of a second, in pages of the usual size.
///
/// For processes that read a whole cluster once and then live on what changes: what the first listing needed would
/// stay with them. mimalloc gives pages back after ten seconds, and only while it is used; and asks for huge pages,
/// of which one that is used in part stays whole (2 MB). Children inherit that there are no huge pages: not for a process
/// that starts pods.
///
/// To be called before the process has other threads; later it changes nothing. Errors are of no consequence: then
/// there is more memory in use.
pub fn hold_little() {
    give_back_soon();
    let _ = prctl::set_thp_disable(true);
}

/// The part of [`hold_little`] that is this process's alone.
pub fn give_back_soon() {
    /// Milliseconds until a freed page is given back; ten times as many for what many pages lie in.
    const DELAY: std::ffi::c_long = 10;
    /// `mi_option_purge_delay` of mimalloc 2 and 3.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    if !is_alone() {
        return;
    }
    // SAFETY: stores a number in a table of the allocator's, at an index that is in it, and no other thread reads it
    // meanwhile.
    #[expect(unsafe_code, reason = "the allocator has no other door")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, DELAY);
    }
}

/// Whether this is the process's only thread.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}
