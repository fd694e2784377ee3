//! A node that runs: what `sund serve` and the demonstration bring up and let down again.
use crate::association::{self, Gate, Listener};
use crate::audit::{self, forward};
use crate::certificate;
use crate::channel::{Channel, Desk, Record, Served, Trials};
use crate::config::{self, Config};
use crate::console::{self, ConsoleOptions, Operator, StatusSource};
use crate::control::Control;
use crate::counted::counted;
use crate::fault::{Blame, Fault};
use crate::gpus;
use crate::infer::Engines;
use crate::limits::agent::{DARK, DRAIN};
use crate::manager::Start;
use crate::metrics;
use crate::pipeline::{
    Pipeline, Recorder, ServingSet, Site, SpoolIntake, assemble, compile_engines, deliver, retain, run_jobs,
};
use crate::release::Variant;
use crate::spool::Spool;
use crate::status::Status;
use crate::worker::Launcher;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A node with its ports open.
pub struct Agent {
    node: SocketAddr,
    console: Option<SocketAddr>,
    pipeline: Arc<Pipeline>,
    audit: Arc<audit::Log>,
    stop: watch::Sender<bool>,
    /// None of them ends before the stop.
    services: JoinSet<Result<(), Fault>>,
    /// Whoever watches can do so until all else has ended.
    dark: watch::Sender<bool>,
    watchers: JoinSet<Result<(), Fault>>,
    /// Turns true where it is to end and be started again; `None` without a channel.
    restarts: Option<watch::Receiver<bool>>,
    /// Why it stops, where nobody asked for it.
    broken: Option<Fault>,
}

impl Agent {
    /// Opens the spool, the audit log and the ports, in this order, and serves. A fault leaves nothing open, and is in the
    /// audit log unless that is another agent's.
    pub async fn start(served: impl Into<Served>) -> Result<Self, Fault> {
        let served = served.into();
        let config = &served.config;
        let mut start = Start::default();
        let spool = Spool::open_telling(config.spool.clone(), &mut || start.gets_on("reading the spool"));
        let audit = audit::Log::open(config.audit.clone()).map(Arc::new);
        let (spool, audit) = match (spool, audit) {
            (Ok(spool), audit) => (spool, audit?),
            (Err(fault), Ok(audit)) => return Err(not_started(&audit, fault.into())),
            (Err(fault), Err(_)) => return Err(fault.into()),
        };
        let started = Self::serve(served, spool, Arc::clone(&audit), start).await;
        started.map_err(|fault| not_started(&audit, fault))
    }

    async fn serve(served: Served, spool: Spool, audit: Arc<audit::Log>, mut start: Start) -> Result<Self, Fault> {
        let Served { mut config, state, since, record, lost, support, records } = served;
        let gate = Gate::from(config.policy());
        let (socket, node) = listen(config.node.listen, "node.listen").await?;
        let control = Control::bind(&config.spool.directory)?;
        let bound = |settings| Channel::bind(&settings).map(|socket| (socket, settings));
        let channel = config.channel.take().map(bound).transpose()?;
        let console_socket = listen_where_named(config.console.as_ref().map(|it| it.listen), "console.listen").await?;
        // Before the first event: each that tells a refusal is counted.
        let metrics = config.console.as_ref().map(|_| metrics::install());

        say_what_runs(&audit, config.digest, config.variant.as_ref(), config.node.plain_dicom.as_ref(), node)?;
        say_what_is_lost(&audit, spool.usage().damaged)?;
        // Where no updater looks after the box, nobody takes its system back.
        if channel.is_none() {
            spool.commit_format()?;
        }
        say_what_cannot_serve(&audit, lost)?;
        let (stop, stopped) = watch::channel(false);
        let (dark, darkened) = watch::channel(false);
        let (mut services, mut watchers) = (JoinSet::new(), JoinSet::new());
        if config.worker.watches_gpus {
            let (tell, told) = oneshot::channel();
            let (launcher, named) = (config.worker.launcher.clone(), config.worker.devices.clone());
            services.spawn(gpus::monitor(launcher, named, tell, stop.subscribe()));
            gpus::leave_out(&mut config.worker, told).await;
        }
        let (seats, compiler) = (config.worker.seats(), config.worker.compiler());
        let trials = Trials::new(&config.worker);
        let site = Site {
            ae_title: config.node.ae_title,
            uid_key: config.uid_key,
            device: config.device,
            variant: config.variant,
            engines: kept_in(&config.spool.directory, config.worker.engines, &config.worker.launcher),
            bounds: config.worker.bounds,
            activation: config.worker.activation,
            has_channel: channel.is_some(),
        };
        let recorder = Recorder::new(Some(Arc::clone(&audit)));
        let set = ServingSet {
            state,
            since,
            packages: config.packages,
            accepted: config.accepted,
            routes: config.routes,
            destinations: config.destinations,
            floors: config.floors,
        };
        let gets_on = &mut || start.gets_on("finishing a recall that was cut off");
        let pipeline = Pipeline::new_telling(spool, site, set, recorder, gets_on)?;
        pipeline.listens_on(&node.to_string());
        pipeline.take_up_begun(|| served_before(&record, channel.as_ref().map(|(_, settings)| settings)?))?;

        let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
        services.spawn(endless(assemble(Arc::clone(&pipeline), config.assembly, feed)));
        let mut restarts = None;
        let updater_status = channel.as_ref().map(|(_, settings)| settings.updater_status.clone());
        if let Some((socket, settings)) = channel {
            let desk = Desk::new(settings, record, config.fixed, trials, Arc::clone(&pipeline), gate.clone(), node);
            restarts = Some(desk.restarts());
            watchers.spawn(endless(socket.serve(desk, darkened.clone())));
        }
        let listener = Listener { socket, tls: config.node.tls.map(TlsAcceptor::from) };
        services.spawn(endless(association::serve(listener, gate, Arc::new(intake), stopped.clone())));
        services.spawn(deliver(Arc::clone(&pipeline)));
        if let Some(retention) = config.retention {
            services.spawn(endless(retain(Arc::clone(&pipeline), retention, stopped)));
        }
        watchers.spawn(endless(control.serve(Arc::clone(&pipeline), darkened.clone())));
        let console = console_socket.as_ref().map(|(_, address)| *address);
        if let (Some(settings), Some((socket, _)), Some(metrics)) = (config.console, console_socket, metrics) {
            let options = ConsoleOptions {
                tls: settings.tls,
                login: settings.login,
                allowed_hosts: settings.allowed_hosts,
                audit: Some(Arc::clone(&audit)),
                updater_status,
                operator: Some(Arc::clone(&pipeline) as Arc<dyn Operator>),
                support,
            };
            watchers.spawn(console::serve(vec![socket], options, Arc::clone(&pipeline) as _, metrics, darkened));
        }
        services.spawn(recorded(Arc::clone(&pipeline), stop.subscribe()));
        if let Some(settings) = config.certificate {
            services.spawn(endless(look_after(settings, Arc::clone(&pipeline), stop.subscribe())));
        }
        if let Some(collector) = config.forward {
            let (dir, keep) = (config.audit.dir, config.audit_keep);
            let source = forward::Source { dir, keep, heads: audit.heads(), records };
            services.spawn(endless(collect(collector, source, Arc::clone(&pipeline), stop.subscribe())));
        }
        if let Some(seat) = compiler {
            services.spawn(endless(compile_engines(Arc::clone(&pipeline), seat)));
        }
        for seat in seats {
            let runner = Arc::clone(&pipeline);
            services.spawn_blocking(move || {
                run_jobs(&runner, seat);
                Ok(())
            });
        }
        Ok(Self { node, console, pipeline, audit, stop, services, dark, watchers, restarts, broken: None })
    }

    /// Where the DICOM node listens.
    pub fn node(&self) -> SocketAddr {
        self.node
    }

    /// Where the console listens.
    pub fn console(&self) -> Option<SocketAddr> {
        self.console
    }

    /// The state now.
    pub fn status(&self) -> Status {
        self.pipeline.snapshot()
    }

    /// What [`Agent::status`] is read from, for other threads.
    pub fn source(&self) -> Arc<dyn StatusSource> {
        Arc::clone(&self.pipeline) as Arc<dyn StatusSource>
    }

    /// Has the golden cases run of models that have served without; their jobs wait from now on.
    pub fn check_models(&self) {
        self.pipeline.demand_checks();
    }

    /// Waits for a service that ends by itself, which none should.
    pub async fn broken(&mut self) -> Fault {
        let fault = self.ended().await;
        self.broken = Some(fault.clone());
        fault
    }

    /// Waits until what is to serve can only serve after a restart: the agent is to drain and end in order.
    pub fn restarts(&self) -> impl Future<Output = ()> + use<> {
        let restarts = self.restarts.clone();
        async move {
            let Some(mut restarts) = restarts else { return std::future::pending().await };
            // The desk lives as long as the agent.
            let _ = restarts.wait_for(|restarts| *restarts).await;
        }
    }

    async fn ended(&mut self) -> Fault {
        let ended = tokio::select! {
            ended = self.services.join_next() => ended,
            ended = self.watchers.join_next() => ended,
        };
        match ended {
            Some(Ok(Err(fault))) => fault,
            Some(Err(error)) => Fault::new("agent-broken", Blame::Sund, format!("a part of the agent failed: {error}")),
            Some(Ok(Ok(()))) | None => Fault::new("agent-broken", Blame::Sund, "a part of the agent ended by itself"),
        }
    }

    /// Takes no more associations, ends what is under way, and closes the spool; console and status answer until then. Jobs that wait are taken up at the next
    /// start. An error where something did not end in time; it is in the spool all the same.
    pub async fn stop(mut self) -> Result<(), Fault> {
        self.stop.send_replace(true);
        self.pipeline.drain();
        let ended = timeout(DRAIN, async { while self.services.join_next().await.is_some() {} }).await;
        self.services.abort_all();
        self.dark.send_replace(true);
        // A browser that holds its connection holds up nobody.
        let _ = timeout(DARK, async { while self.watchers.join_next().await.is_some() {} }).await;
        self.watchers.abort_all();
        let late = ended.err().map(|_| {
            let reason = format!("not everything ended within {} s; the next start goes on with it", DRAIN.as_secs());
            Fault::new("drain-incomplete", Blame::Box, reason)
        });
        let fault = self.broken.take().or(late.clone());
        let said = self.audit.append(audit::Event::AgentStopped { fault });
        late.map_or(said.map(|_| ()), Err)
    }
}

/// An agent that is let go takes up nothing more; what it had begun is in the spool.
impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.pipeline.drain();
    }
}

/// Ends, with the fault, once audit log or spool take nothing more.
async fn recorded(pipeline: Arc<Pipeline>, mut stop: watch::Receiver<bool>) -> Result<(), Fault> {
    tokio::select! {
        fault = pipeline.unrecorded() => Err(fault),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

/// The clinical certificate, as status and audit trail are told of it.
fn look_after(
    settings: certificate::Settings,
    pipeline: Arc<Pipeline>,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> {
    let trail = Arc::clone(&pipeline);
    certificate::keep(settings, move |status| pipeline.certificate_is(status), move |event| trail.say(event), stop)
}

/// The collection of the audit log, as status is told of it.
async fn collect(
    collector: forward::Collector,
    source: forward::Source,
    pipeline: Arc<Pipeline>,
    stop: watch::Receiver<bool>,
) {
    forward::forward(collector, source, |status| pipeline.forward_is(status), stop).await;
}

async fn endless(service: impl Future<Output = ()>) -> Result<(), Fault> {
    service.await;
    Ok(())
}

/// Where engines that were compiled on this box are kept, and kernels by workers that keep them.
fn kept_in(spool: &Path, engines: Engines, launcher: &Launcher) -> Engines {
    let kept = spool.join("engines");
    let kernels = launcher.keeps_kernels().then(|| kept.clone());
    Engines { kept: Some(kept), kernels, ..engines }
}

async fn listen_where_named(
    address: Option<SocketAddr>,
    key: &str,
) -> Result<Option<(TcpListener, SocketAddr)>, Fault> {
    match address {
        Some(address) => listen(address, key).await.map(Some),
        None => Ok(None),
    }
}

async fn listen(address: SocketAddr, key: &str) -> Result<(TcpListener, SocketAddr), Fault> {
    let unavailable = |error: std::io::Error| {
        let reason = format!("{address} ({key}) cannot be listened on: {error}; find who holds it with: ss -ltnp");
        Fault::new("port-unavailable", Blame::Box, reason)
    };
    let socket = TcpListener::bind(address).await.map_err(unavailable)?;
    let bound = socket.local_addr().map_err(unavailable)?;
    Ok((socket, bound))
}

/// The audit log is told why the agent does not serve.
fn not_started(audit: &audit::Log, fault: Fault) -> Fault {
    // Where it takes nothing either, the fault is told to who started the agent.
    let _ = audit.append(audit::Event::AgentNotStarted { fault: fault.clone() });
    fault
}

/// What the spool could not read back is said before anything is taken on.
fn say_what_is_lost(audit: &audit::Log, places: u64) -> Result<(), Fault> {
    if places == 0 {
        return Ok(());
    }
    let what = counted(places, "of its places does not", "of its places do not");
    let reason = format!("{what} read back, and what lay there is lost; have the disk checked");
    let fault = Fault::new("spool-damaged", Blame::Box, reason);
    tracing::error!(code = %fault.code, reason = %fault.reason, "the spool is damaged");
    audit.append(audit::Event::SpoolDamaged { fault }).map(|_| ())
}

/// What served before what is to serve, for the studies that began on it.
fn served_before(record: &Record, channel: &config::Channel) -> Option<ServingSet> {
    let before = record.before(channel)?.inspect_err(|fault| {
        tracing::warn!(code = %fault.code, reason = %fault.reason, "what served before cannot be taken up");
    });
    let (state, config) = before.ok()?;
    let Config { packages, accepted, routes, destinations, floors, .. } = config;
    Some(ServingSet { state, since: SystemTime::now(), packages, accepted, routes, destinations, floors })
}

/// That what was activated cannot serve is said before the box's own configuration does.
fn say_what_cannot_serve(audit: &audit::Log, lost: Option<(String, Fault)>) -> Result<(), Fault> {
    let Some((state, fault)) = lost else { return Ok(()) };
    let (code, reason) = (&fault.code, &fault.reason);
    tracing::error!(state, %code, reason, "the state cannot serve; the box's own configuration does");
    audit.append(audit::Event::StateLost { state, fault }).map(|_| ())
}

/// The audit log opens with what was started, under which configuration, and with what stands open by exception.
fn say_what_runs(
    audit: &audit::Log,
    digest: Option<String>,
    variant: Option<&Variant>,
    plain_dicom: Option<&config::PlainDicom>,
    node: SocketAddr,
) -> Result<(), Fault> {
    if let Some(variant) = variant {
        tracing::warn!(variant = variant.name, "the system is a variant, and not the one for patients");
    }
    audit.append(audit::Event::AgentStarted { version: env!("CARGO_PKG_VERSION").to_owned() })?;
    if let Some(digest) = digest {
        audit.append(audit::Event::ConfigurationLoaded { digest })?;
    }
    if let Some(exception) = plain_dicom {
        tracing::warn!(address = %node, until = %exception.until, "plain DICOM is open by exception");
        audit.append(audit::Event::PlainDicom {
            address: node.to_string(),
            reason: exception.reason.clone(),
            approved_by: exception.approved_by.clone(),
            until: exception.until.to_string(),
        })?;
    }
    Ok(())
}
