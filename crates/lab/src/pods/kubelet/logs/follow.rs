//! Waiting until a log grows or its container ends, without looking again and again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::pods::readiness::readable;

/// Changes of a log and of the record that says whether its container runs.
#[derive(Debug)]
pub(super) struct Changes {
    handle: AsyncFd<OwnedFd>,
}

impl Changes {
    pub(super) fn of(log: &Path, pod: &Path) -> io::Result<Self> {
        let handle = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&handle, log, WatchFlags::MODIFY)?;
        inotify::add_watch(
            &handle,
            pod,
            WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::DELETE_SELF,
        )?;
        Ok(Self { handle: readable(handle)? })
    }

    /// Returns once something has changed since the last call; several changes count as one.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.handle.readable().await?;
            let mut buffer = [0; 4096];
            // Otherwise it was somebody else's readiness: wait for the next.
            if let Ok(read) = ready.try_io(|handle| Ok(rustix::io::read(handle.get_ref(), &mut buffer)?)) {
                return read.map(drop);
            }
        }
    }
}
