//! The GPUs of this box, of which a worker tells: which of them are used, and what metrics and log say of them. The agent itself
//! opens neither a GPU nor its driver's library.
use crate::config::WorkerSettings;
use crate::fault::{Blame, Fault};
use crate::infer::Gpu;
use crate::limits::gpus::{DESCRIBED, FIRST_PAUSE, LONGEST_PAUSE, MAX_HANGS};
use crate::metrics;
use crate::worker::{GpuError, Launcher, Loss, Names, Process, Told, watch_gpus};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// What the named GPUs are, in their order, or why one cannot be used.
pub type Described = Vec<Result<Gpu, Fault>>;

/// Has a worker tell of the GPUs, and the next one where it is lost, until the agent stops or too many have hung. `tell` gets
/// what the named ones are, and nothing where the first worker does not say it.
pub async fn monitor(
    launcher: Launcher,
    named: Vec<String>,
    tell: oneshot::Sender<Described>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Fault> {
    let mut listener = Listener { named, tell: Some(tell), names: Names::default(), has_told: false, said: None };
    let (mut pause, mut hangs) = (FIRST_PAUSE, 0);
    loop {
        let began = Instant::now();
        let Loss { fault, hung } = listen(&launcher, &mut listener, &mut stop).await?;
        if *stop.borrow() {
            return Ok(());
        }
        hangs += u32::from(hung);
        if began.elapsed() >= LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        listener.loses(fault);
        if hangs >= MAX_HANGS {
            tracing::warn!(
                code = "gpu-unmonitored",
                hangs,
                "the GPUs are monitored no more until the agent's next start"
            );
            // Fails only where who would say it is gone.
            let _ = stop.wait_for(|stop| *stop).await;
            return Ok(());
        }
        if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Leaves out those of the GPUs that the configuration names and that cannot be used, and says so once. Where nothing is told of
/// them in time, the configuration is taken as it stands.
pub async fn leave_out(worker: &mut WorkerSettings, told: oneshot::Receiver<Described>) {
    if worker.devices.is_empty() {
        return;
    }
    let Ok(Ok(described)) = timeout(DESCRIBED, told).await else {
        tracing::warn!(code = "gpu-unmonitored", "nobody tells what [worker] devices names; it is used as it stands");
        return;
    };
    let (used, faults) = usable(std::mem::take(&mut worker.devices), described);
    for fault in faults {
        tracing::warn!(code = %fault.code, reason = %fault.reason, "a GPU is not used");
    }
    worker.devices = used;
}

/// Hears one worker to its end; why it ended.
async fn listen(launcher: &Launcher, listener: &mut Listener, stop: &mut watch::Receiver<bool>) -> Result<Loss, Fault> {
    let launcher = launcher.clone();
    let launched = spawn_blocking(move || launcher.launch()).await.map_err(broken)?;
    let launched = launched.and_then(|process| Ok((HangUp::of(&process)?, process)));
    let (hang_up, process) = match launched {
        Ok(launched) => launched,
        Err(fault) => return Ok(fault.into()),
    };
    let mut hears = std::mem::take(listener);
    let mut conversation = spawn_blocking(move || {
        let (named, mut names) = (hears.named.clone(), std::mem::take(&mut hears.names));
        let loss = watch_gpus(process, &named, &mut names, &mut |told| hears.hear(told));
        hears.names = names;
        (hears, loss)
    });
    let ended = tokio::select! {
        ended = &mut conversation => Some(ended),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    drop(hang_up);
    let ended = match ended {
        Some(ended) => ended,
        None => conversation.await,
    };
    let (heard, loss) = ended.map_err(broken)?;
    *listener = heard;
    Ok(loss)
}

fn broken(error: tokio::task::JoinError) -> Fault {
    Fault::new("agent-broken", Blame::Sund, format!("what listens to the GPUs' worker failed: {error}"))
}

/// Ends a conversation that another thread waits in, with the agent's stop and where its start fails.
struct HangUp(UnixStream);

impl HangUp {
    fn of(process: &Process) -> Result<Self, Fault> {
        process.channel.connection().map(Self).map_err(|error| {
            Fault::new("worker-not-started", Blame::Box, format!("no connection to the worker can be had: {error}"))
        })
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        // Fails only where the worker is gone.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// What is made of what a worker tells.
#[derive(Default)]
struct Listener {
    named: Vec<String>,
    /// Who waits for the named ones.
    tell: Option<oneshot::Sender<Described>>,
    names: Names,
    /// A worker has told of GPUs.
    has_told: bool,
    /// Why there was none, as it was said last.
    said: Option<Fault>,
}

impl Listener {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Described(described) => {
                self.has_told = true;
                self.said = None;
                metrics::gpus_monitored(true);
                let late = match self.tell.take() {
                    Some(tell) => tell.send(described).err(),
                    None => Some(described),
                };
                for fault in late.into_iter().flatten().filter_map(Result::err) {
                    tracing::warn!(code = %fault.code, reason = %fault.reason, "a GPU that is named is not there");
                }
            }
            Told::Figures(all) => all.iter().for_each(|(gpu, figures)| metrics::gpu(gpu, figures)),
            Told::Errors(errors) => {
                for GpuError { gpu, xid, count } in errors {
                    let gpu = gpu.as_deref().unwrap_or("unknown");
                    tracing::error!(gpu, xid, count, "the driver tells of an error of a GPU");
                    metrics::gpu_errors(gpu, count);
                }
            }
        }
    }

    /// Nothing is told until the next worker does, which is said once for each reason.
    fn loses(&mut self, fault: Fault) {
        self.tell = None;
        // Of no account on a box without a GPU.
        let is_missed = self.has_told || !self.named.is_empty();
        if is_missed {
            metrics::gpus_monitored(false);
        }
        if self.said.as_ref() != Some(&fault) {
            if is_missed {
                tracing::warn!(code = %fault.code, reason = %fault.reason, "no GPU is monitored");
            } else {
                tracing::info!(code = %fault.code, reason = %fault.reason, "no GPU is monitored");
            }
            self.said = Some(fault);
        }
    }
}

/// Which of the GPUs that the configuration names are used, and what is wrong with the others. All that are used are of one
/// kind: which engine serves a model is one answer for the box.
fn usable(named: Vec<String>, described: Described) -> (Vec<String>, Vec<Fault>) {
    let (mut used, mut kind, mut faults) = (Vec::new(), None::<Gpu>, Vec::new());
    for (device, described) in named.into_iter().zip(described) {
        match (described, &kind) {
            (Ok(gpu), Some(first)) if gpu != *first => {
                let reason = format!("{device} is {gpu}, others are {first}: the workers' GPUs must be of one kind");
                faults.push(Fault::new("gpu-differs", Blame::Configuration, reason));
            }
            (Ok(gpu), _) => {
                kind = Some(gpu);
                used.push(device);
            }
            (Err(fault), _) => faults.push(fault),
        }
    }
    (used, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_are_not_there_or_of_another_kind_are_not_used_and_the_others_are() {
        let gpu =
            |name: &str| Gpu { name: name.into(), capability: (8, 9), memory: 1 << 34, driver: "580.95.05".into() };
        let described = vec![
            Err(Fault::new("gpu-not-found", Blame::Configuration, "gone")),
            Ok(gpu("NVIDIA L4")),
            Ok(gpu("NVIDIA L40S")),
            Ok(gpu("NVIDIA L4")),
        ];
        let named = ["GPU-gone", "GPU-a", "GPU-c", "GPU-b"].map(str::to_owned).to_vec();
        let (used, faults) = usable(named, described);
        assert_eq!(used, ["GPU-a", "GPU-b"]);
        assert_eq!(
            faults.iter().map(|fault| fault.code.as_ref()).collect::<Vec<_>>(),
            ["gpu-not-found", "gpu-differs"]
        );
        assert_eq!(usable(Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    }
}
