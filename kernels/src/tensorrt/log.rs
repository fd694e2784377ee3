//! TensorRT's log, on its way to ours.
use super::boundary;
use std::ffi::c_char;
use std::sync::OnceLock;

/// How grave a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// An error of TensorRT's, or one that it was led into.
    Error,
    /// Something that may surprise.
    Warning,
    /// What it does.
    Info,
}

static SINK: OnceLock<fn(Severity, &str)> = OnceLock::new();

/// Sends the log of every TensorRT of this process to `sink`, from whatever thread writes it: lines of at most 1 kB without
/// control characters, which name tensors, layers and kernels and never carry values. The first sink stays.
pub fn log_to(sink: fn(Severity, &str)) {
    SINK.get_or_init(|| sink);
    for table in [boundary::rtx(), boundary::enterprise()] {
        // SAFETY: the shim calls `receive` with lines of the length that it says.
        unsafe { (table.log_to)(receive) };
    }
}

/// Sends a line of our own the same way.
pub(crate) fn tell(severity: Severity, line: &str) {
    const LONGEST: usize = 1000;
    let Some(sink) = SINK.get() else { return };
    let line: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    sink(severity, &line);
}

/// A panic in the sink ends the process: it must not unwind through C++.
unsafe extern "C" fn receive(severity: i32, line: *const c_char, length: usize) {
    let Some(sink) = SINK.get() else { return };
    // SAFETY: the shim gives a line of `length` bytes that lives until this returns.
    let line = boundary::line(unsafe { std::slice::from_raw_parts(line.cast::<u8>(), length) });
    let severity = match severity {
        0 | 1 => Severity::Error,
        2 => Severity::Warning,
        _ => Severity::Info,
    };
    sink(severity, &line);
}
