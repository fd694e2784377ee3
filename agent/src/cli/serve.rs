//! `sund serve`: the daemon, as systemd runs it.
use super::fail;
use crate::agent::Agent;
use crate::channel::Served;
use crate::config::{self, Config, LogFormat, LogSettings};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::manager::tell;
use crate::records::Records;
use crate::sandbox::{Held, Places, confine};
use crate::support::{Source, Tail};
use sd_notify::{NotifyState, watchdog_enabled};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Between two signs of life where systemd asks for none.
const DEFAULT_PULSE: Duration = Duration::from_secs(30);

/// Checks the configuration, serves until SIGTERM or Ctrl-C, drains.
pub(super) fn run(path: &Path) -> Exit {
    let config = match config::check(path) {
        Ok(config) => config,
        Err(problems) => {
            eprint(&config::render(path, &problems));
            return Exit::Usage;
        }
    };
    let own = Places::of(&config, path);
    // What was activated by the channel, where it holds; its log is as it says.
    let support = Source { own: path.to_owned(), log: Tail::default() };
    let served = Served::from(config).supported_by(support.clone());
    let records = kept(&served.config).transpose();
    let warned = records.as_ref().ok().cloned().flatten();
    if let Err(error) = log(&served.config.log, support.log.clone(), warned.clone()) {
        return fail(&Fault::new("log-unavailable", Blame::Sund, error.to_string()));
    }
    if let Err(error) = records {
        tracing::error!(code = "audit-disk", %error, "what the log warns of is not kept for its collector");
    }
    let served = served.warning(warned.clone());
    for doubt in &served.config.doubts {
        tracing::warn!(
            code = "configuration-invalid",
            key = doubt.key,
            reason = doubt.message,
            "this part of the configuration cannot work"
        );
    }
    // Before there is another thread; all that follow are bound by it.
    match confine(&own.and(Places::of(&served.config, path))) {
        Ok(Held::Whole) => tracing::info!("the kernel holds this process to its files (Landlock)"),
        Ok(Held::Part) => {
            tracing::warn!("the kernel holds this process to its files as far as it knows how (Landlock)");
        }
        Ok(Held::Nothing) => tracing::warn!("the kernel does not hold this process to its files: it has no Landlock"),
        Err(fault) => {
            tracing::warn!(code = %fault.code, reason = %fault.reason, "this process is not held to its files");
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Fault::new("runtime", Blame::Box, format!("no threads can be had: {error}"))),
    };
    let ended = match runtime.block_on(serve(served, support, warned)) {
        Ok(()) => Exit::Ok,
        Err(fault) => fail(&fault),
    };
    // A worker that hangs must not hold up the end; its job is still in the spool.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(served: Served, support: Source, records: Option<Records>) -> Result<(), Fault> {
    let signals = |error: io::Error| Fault::new("signals", Blame::Box, format!("signals cannot be had: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut agent = start(served, support, records).await?;
    tracing::info!(node = %agent.node(), console = agent.console().map(tracing::field::display), "serving");
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);

    let restarts = agent.restarts();
    tokio::pin!(restarts);
    let half_the_watchdog = watchdog_enabled().map(|limit| limit / 2);
    let pulse_of_systemd = half_the_watchdog.is_some();
    let mut pulse = interval(half_the_watchdog.unwrap_or(DEFAULT_PULSE));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let broken = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            fault = agent.broken() => break Some(fault),
            () = &mut restarts => {
                tracing::info!("what is to serve asks for a restart");
                break None;
            }
            _ = pulse.tick() => {
                // A state that can be read: neither the spool's index nor the queue is held by something that hangs.
                let source = agent.source();
                let state = tokio::task::spawn_blocking(move || source.snapshot());
                if pulse_of_systemd && timeout(pulse.period(), state).await.is_ok() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    };
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    tracing::info!("draining: associations, jobs and deliveries under way are ended");
    let drained = agent.stop().await;
    match broken {
        Some(fault) => Err(fault),
        None => drained,
    }
    .inspect(|()| tracing::info!("drained"))
}

/// Starts what is to serve; where that is a state that cannot start, the box's own configuration.
async fn start(served: Served, support: Source, records: Option<Records>) -> Result<Agent, Fault> {
    let (state, record) = (served.state.clone(), served.record.clone());
    match (Agent::start(served).await, state) {
        (Err(fault), Some(state)) => match config::check(&support.own) {
            Ok(own) => {
                let served = Served::instead_of(state.name, fault, own, record);
                Agent::start(served.supported_by(support).warning(records)).await
            }
            Err(_) => Err(fault),
        },
        (started, _) => started,
    }
}

/// Ours, and from the libraries underneath what goes wrong: below that they may print what passes through them, patients
/// and all, and no filter of a configuration changes that.
fn names_nobody(line: &Metadata<'_>) -> bool {
    line.target().starts_with("sund") || *line.level() <= Level::WARN
}

/// Where what is warned of waits for the collector of the audit log; nowhere where nobody collects that.
fn kept(config: &Config) -> Option<io::Result<Records>> {
    config.forward.as_ref().map(|_| Records::open(&config.audit.dir.join("log")))
}

/// To standard error; the last lines to `tail`, as JSON whatever the settings say: a bundle is made of them; and to `records` warnings and
/// errors, whatever the filter of the settings leaves out.
fn log(
    settings: &LogSettings,
    tail: Tail,
    records: Option<Records>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = || EnvFilter::try_new(&settings.filter);
    let out = layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let out = match settings.format {
        LogFormat::Text => out.boxed(),
        LogFormat::Json => out.json().boxed(),
    };
    let warns = |line: &Metadata<'_>| line.is_span() || *line.level() <= Level::WARN;
    let records = records.map(|records| layer().json().with_writer(records).with_filter(filter_fn(warns)));
    tracing_subscriber::registry()
        .with(filter_fn(names_nobody))
        .with(out.with_filter(filter()?))
        .with(layer().json().with_writer(tail).with_filter(filter()?))
        .with(records)
        .try_init()?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the log does not stand yet")]
fn eprint(text: &str) {
    eprint!("{text}");
}
