//! How far a sweep is, for a person who waits: drawn on standard error, and only when that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that changes.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins a line for so many seeds, or for as many as there is time for.
    pub(crate) fn new(seeds: Option<u64>) -> Self {
        let (bar, template) = match seeds {
            Some(seeds) => (ProgressBar::new(seeds), "{elapsed_precise} {bar:24} {pos} of {len} seeds, {msg}"),
            None => (ProgressBar::no_length(), "{elapsed_precise} {spinner} {pos} seeds, {msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are well formed");
        bar.set_style(style.progress_chars("##-"));
        bar.set_message("none played yet");
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar }
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, seeds: u64, promises: u64, broken: usize) {
        self.bar.set_position(seeds);
        self.bar.set_message(message(seeds, self.bar.elapsed(), promises, broken));
    }

    /// Does what prints while the line is out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn message(seeds: u64, elapsed: Duration, promises: u64, broken: usize) -> String {
    let pace = seeds as f64 * 60.0 / elapsed.as_secs_f64().max(0.001);
    format!("{pace:.0} a minute, {promises} promises checked, {broken} broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_pace_and_what_was_checked() {
        let line = message(90, Duration::from_secs(30), 123_456, 1);
        assert_eq!(line, "180 a minute, 123456 promises checked, 1 broken");
    }

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let progress = Progress::new(Some(10));
        progress.show(3, 100, 0);
        assert_eq!(progress.aside(|| 7), 7);
        progress.end();
        assert!(progress.bar.is_finished());
    }
}
