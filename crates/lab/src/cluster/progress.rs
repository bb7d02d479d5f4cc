//! What a waiting person sees: one line a step, the current one alive.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Steps shown on standard error.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    live: bool,
}

impl Progress {
    /// Begins.
    pub fn start() -> Self {
        Self { started: Instant::now(), live: std::io::stderr().is_terminal() }
    }

    /// Shows `what` as under way until the step is ended.
    pub fn step(&self, what: &str) -> Step {
        let bar = if self.live { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { bar, what: what.to_owned(), started: Instant::now() }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// One step under way. Dropped without [`Step::done`] it failed, and its line disappears.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    what: String,
    started: Instant,
}

impl Step {
    /// Changes what the line says.
    pub fn detail(&self, detail: &str) {
        self.bar.set_message(format!("{}: {detail}", self.what));
    }

    /// The step is done; `result` is what came of it.
    pub fn done(self, result: &str) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed().as_millis();
        eprintln!("✓ {}{}{result} ({took} ms)", self.what, if result.is_empty() { "" } else { ": " });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
