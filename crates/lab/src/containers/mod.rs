//! Containers of one node: Debian's `runc` under Debian's `conmon`.
//!
//! ```text
//! create ─► conmon ─► runc create          <directory>/<id>/…   one directory per container
//! start  ─► runc start                     <directory>/runc/…   runc's own state
//! wait   ◄─ conmon ends ◄─ exit file
//! ```
//!
//! conmon is the parent of each container's main process. It writes the log and the exit file, so a container
//! and its outcome survive the process that made it: a restarted agent opens the same directory and finds
//! everything again with [`Runtime::list`]. All processes stay inside the lab's control group
//! ([`cgroup::LabCgroup`]), conmon included, so one call ends a whole lab.

pub mod cgroup;

mod attach;
mod bundle;
mod command;
mod conmon;
mod error;
mod exec;
mod overlay;
mod process;
mod record;
mod runtime;
mod session;
mod spec;
mod user;

pub use command::Terminal;
pub use error::ContainerError;
pub use exec::{ExecOutput, ExecRequest};
pub use overlay::unmount_below;
pub use runtime::{Runtime, RuntimeConfig};
pub use session::{SessionClient, SessionEnd, SessionInput, SessionOutput, SessionRequest, TerminalSize};
pub use spec::{
    Capabilities, ContainerExit, ContainerId, ContainerSpec, ContainerState, ContainerStatus, ExitCause,
    JoinedNamespaces, Limits, Mount, Privileges, RunAs, Stdin,
};
