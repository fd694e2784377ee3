//! The agent's side of the conversation with the worker that watches the GPUs. What that one says goes into metrics and log, so
//! it is bounded and checked here; whatever it does costs figures and nothing else.
use super::channel::ChannelError;
use super::launch::Process;
use super::message::{Answer, Asked, GpuError, Said, Told, Watch};
use super::supervise::{is_short, is_sound};
use crate::fault::{Blame, Fault};
use crate::infer::Gpu;
use crate::limits::gpus::{MAX_ERRORS, MAX_GPUS, MAX_NAME, MAX_WORDS, MEMORY, SILENCE};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// The GPUs that were told of since the agent started.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// False for what is no UUID of a GPU, and for one more than there can be.
    fn admit(&mut self, name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_name = name.starts_with("GPU-") && name.len() <= MAX_NAME && name.bytes().all(is_plain);
        is_name && (self.0.contains(name) || (self.0.len() < MAX_GPUS && self.0.insert(name.to_owned())))
    }
}

/// Why a worker tells nothing more.
#[derive(Debug)]
pub struct Loss {
    /// For people.
    pub fault: Fault,
    /// It said nothing for too long. A process whose driver hangs in the kernel cannot be ended, and keeps what it has of the
    /// machine.
    pub hung: bool,
}

impl From<Fault> for Loss {
    fn from(fault: Fault) -> Self {
        Self { fault, hung: false }
    }
}

/// Has a worker tell of the GPUs, what those are that are `named` first, until it ends or its connection is closed; why it
/// ended. Blocks the calling thread.
pub fn watch(mut worker: Process, named: &[String], names: &mut Names, hear: &mut dyn FnMut(Told)) -> Loss {
    match listen(&mut worker, named, names, hear) {
        Err(Ended::Told(fault)) => fault.into(),
        Err(Ended::Lost(error)) => Loss { hung: is_silence(&error), fault: unmonitored(&lost(&mut worker, &error)) },
        Err(Ended::Unsound(what)) => unmonitored(&format!("said what cannot be used ({what}), and was ended")).into(),
        Ok(never) => match never {},
    }
}

/// How the conversation ends.
enum Ended {
    /// The worker says why itself.
    Told(Fault),
    /// Nothing more comes.
    Lost(ChannelError),
    /// It says what it must not.
    Unsound(&'static str),
}

fn listen(
    worker: &mut Process,
    named: &[String],
    names: &mut Names,
    hear: &mut dyn FnMut(Told),
) -> Result<Infallible, Ended> {
    let order = Watch { named: named.to_vec(), memory: MEMORY };
    worker.channel.wait_at_most(SILENCE).map_err(Ended::Lost)?;
    let asked = worker.ask(Asked::Watch(order), &[]).map_err(Ended::Lost)?;
    let mut words = Words { since: Instant::now(), count: 0 };
    let mut is_described = false;
    loop {
        let (Answer { number, said }, _) = worker.channel.receive().map_err(Ended::Lost)?;
        if number != asked {
            return Err(Ended::Lost(ChannelError::Stale));
        }
        if !words.are_few() {
            return Err(Ended::Unsound("it talks without end"));
        }
        match said {
            Said::Failed(fault) if fault.code == "gpu-unmonitored" && is_sound(&fault) => {
                return Err(Ended::Told(fault));
            }
            Said::Overgrown { .. } => return Err(Ended::Unsound("it takes more memory than it may")),
            Said::Told(told) => {
                let is_first = matches!(told, Told::Described(_));
                if is_first == is_described || !is_told_soundly(&told, named, names) {
                    return Err(Ended::Unsound("no driver tells this of GPUs"));
                }
                is_described = true;
                hear(told);
            }
            _ => return Err(Ended::Unsound("it is asked for something else")),
        }
    }
}

/// How many words there were in this minute.
struct Words {
    since: Instant,
    count: u32,
}

impl Words {
    fn are_few(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_mins(1) {
            *self = Self { since: Instant::now(), count: 0 };
        }
        self.count += 1;
        self.count <= MAX_WORDS
    }
}

fn is_told_soundly(told: &Told, named: &[String], names: &mut Names) -> bool {
    let is_description = |described: &Result<Gpu, Fault>| match described {
        Ok(gpu) => is_short(&gpu.name) && is_short(&gpu.driver),
        Err(fault) => fault.code == "gpu-not-found" && is_sound(fault),
    };
    match told {
        Told::Described(described) => described.len() == named.len() && described.iter().all(is_description),
        Told::Figures(all) => all.len() <= MAX_GPUS && all.iter().all(|(name, _)| names.admit(name)),
        Told::Errors(errors) => {
            let mut is_error = |error: &GpuError| error.gpu.as_deref().is_none_or(|name| names.admit(name));
            errors.len() <= MAX_ERRORS && errors.iter().all(&mut is_error)
        }
    }
}

fn lost(worker: &mut Process, error: &ChannelError) -> String {
    match error {
        ChannelError::Closed => worker.verdict().unwrap_or_else(|| "closed the connection".into()),
        error if is_silence(error) => {
            format!("said nothing for {} s and was ended: its driver may hang", SILENCE.as_secs())
        }
        // The parser's own words may quote what was sent.
        ChannelError::Malformed(_) => "said what is no message of a worker, and was ended".into(),
        error => format!("cannot be heard ({error}) and was ended"),
    }
}

fn is_silence(error: &ChannelError) -> bool {
    matches!(error, ChannelError::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn unmonitored(what: &str) -> Fault {
    let reason = format!("the worker that watches the GPUs {what}: there are no new figures until the next one tells");
    Fault::new("gpu-unmonitored", Blame::Box, reason)
}
