//! Progress on standard error, where that is a terminal.
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::Duration;

/// The bars of a run.
pub(super) struct Bars {
    all: MultiProgress,
    pub found: ProgressBar,
    pub files: ProgressBar,
    pub studies: ProgressBar,
}

impl Bars {
    pub fn new() -> Self {
        let all = MultiProgress::new();
        let found = all.add(bar("looking for DICOM files  {pos}"));
        let files = all.add(bar("taken in  {bar:30} {pos}/{len} files"));
        let studies = all.add(bar("answered  {bar:30} {pos}/{len} studies  {elapsed}"));
        Self { all, found, files, studies }
    }

    pub fn clear(&self) {
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

/// How much of so many bytes was looked at.
pub(super) fn reading(length: u64) -> ProgressBar {
    let reading = bar("reading  {bar:30} {bytes}/{total_bytes}");
    reading.set_length(length);
    reading
}

/// Says what is under way.
pub(super) fn spinner(what: String) -> ProgressBar {
    let spinner = bar("{spinner} {msg}  {elapsed}").with_message(what);
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(Duration::from_millis(100));
    }
    spinner
}

fn bar(template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}
