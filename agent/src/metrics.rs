//! Every metric of the agent: its name, unit and meaning, and the typed functions that the stages call.
//!
//! Labels carry names from the configuration and stable codes, never anything of a patient or a study: the values of a
//! label are few and known, so that neither the exporter nor the monitoring system can be filled from outside.
use crate::outcome::Outcome;
use crate::refusals;
use crate::status::SpoolStatus;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Upper bounds of the buckets of every histogram, in seconds: from one synced write to a slow volume.
const BUCKETS: [f64; 16] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// What kind of value a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, as Prometheus shows it.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Unit.
    pub unit: Unit,
    /// Labels.
    pub labels: &'static [&'static str],
    /// One line for the operator.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// Every metric, in the order of the data path.
#[rustfmt::skip]
pub const ALL: [Metric; 33] = [
    metric("sund_associations_total", Kind::Counter, Unit::Count, &["result"], "Associations asked for, by result: accepted, refused."),
    metric("sund_associations_open", Kind::Gauge, Unit::Count, &[], "Associations that are open now."),
    metric("sund_instances_received_total", Kind::Counter, Unit::Count, &[], "Instances answered with success, each on stable storage."),
    metric("sund_received_bytes_total", Kind::Counter, Unit::Bytes, &[], "Bytes of the data sets received."),
    metric("sund_cstore_seconds", Kind::Histogram, Unit::Seconds, &[], "From the first byte of a C-STORE request to its response."),
    metric("sund_spool_bytes", Kind::Gauge, Unit::Bytes, &[], "Bytes of the spool on disk."),
    metric("sund_spool_quota_bytes", Kind::Gauge, Unit::Bytes, &[], "Bytes that the spool may use."),
    metric("sund_spool_accepting", Kind::Gauge, Unit::Count, &[], "1 while instances are accepted, 0 while C-STORE is answered A700."),
    metric("sund_spool_damaged", Kind::Gauge, Unit::Count, &[], "Places of the spool that did not read back when the agent started."),
    metric("sund_jobs", Kind::Gauge, Unit::Count, &["state"], "Jobs by state: waiting, running."),
    metric("sund_stage_seconds", Kind::Histogram, Unit::Seconds, &["stage"], "Time of each stage of the pipeline."),
    metric("sund_network_seconds", Kind::Histogram, Unit::Seconds, &["model", "network"], "Time of each network of a model, as part of the stage infer."),
    metric("sund_first_result_seconds", Kind::Histogram, Unit::Seconds, &[], "From a study's last C-STORE response to its first result's C-STORE request."),
    metric("sund_outcomes_total", Kind::Counter, Unit::Count, &["model", "outcome"], "Jobs that ended, by model and outcome."),
    metric("sund_model_suspended", Kind::Gauge, Unit::Count, &["model"], "1 while a model is switched off by a person or by the region, 0 otherwise."),
    metric("sund_worker_restarts_total", Kind::Counter, Unit::Count, &["cause"], "Workers started anew, by cause."),
    metric("sund_gpu_utilisation", Kind::Gauge, Unit::Count, &["gpu"], "Part of the time, 0 to 1, in which a GPU ran something; absent without a driver, as all of these."),
    metric("sund_gpu_memory_used_bytes", Kind::Gauge, Unit::Bytes, &["gpu"], "Memory of a GPU that is in use."),
    metric("sund_gpu_memory_bytes", Kind::Gauge, Unit::Bytes, &["gpu"], "Memory of a GPU."),
    metric("sund_gpu_celsius", Kind::Gauge, Unit::Count, &["gpu"], "Temperature of a GPU, in degrees Celsius."),
    metric("sund_gpu_watts", Kind::Gauge, Unit::Count, &["gpu"], "Power that a GPU draws, in watts."),
    metric("sund_gpu_throttled", Kind::Gauge, Unit::Count, &["gpu", "by"], "1 while a GPU's clocks are held down by: power, heat, power-brake, hardware."),
    metric("sund_gpu_ecc_errors_total", Kind::Counter, Unit::Count, &["gpu", "kind"], "Memory errors of a GPU in its lifetime, by kind: corrected, uncorrected."),
    metric("sund_gpu_errors_total", Kind::Counter, Unit::Count, &["gpu"], "Errors of a GPU that the driver told of (Xid) since the start."),
    metric("sund_gpu_monitored", Kind::Gauge, Unit::Count, &[], "1 while a worker tells of the GPUs; while 0 the figures of them are the last that were told."),
    metric("sund_gpu_left", Kind::Gauge, Unit::Count, &["gpu"], "1 while a GPU that was lost again and again is left alone, and engines of the processor serve in its place."),
    metric("sund_delivery_total", Kind::Counter, Unit::Count, &["destination", "result"], "Attempts to deliver a result: delivered, failed, dead, held."),
    metric("sund_delivery_waiting", Kind::Gauge, Unit::Count, &["destination"], "Results that wait for a destination."),
    metric("sund_refusals_total", Kind::Counter, Unit::Count, &["code"], "Refusals and failures by their stable code (agent/REFUSALS.md); other: a worker has made one up."),
    metric("sund_audit_events_total", Kind::Counter, Unit::Count, &[], "Events in the audit log since the start."),
    metric("sund_audit_waiting", Kind::Gauge, Unit::Count, &[], "Events that the collector of the audit log does not have yet; absent without one."),
    metric("sund_certificate_ends_seconds", Kind::Gauge, Unit::Seconds, &[], "End of the clinical certificate, in seconds since 1970; absent without [certificate]."),
    metric("sund_console_logins_total", Kind::Counter, Unit::Count, &["result"], "Logins to the console: accepted, refused, throttled."),
];

/// Renders what `/metrics` answers.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The text format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds waiting samples into their buckets, so that memory stays bounded when nobody asks.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Makes this process record metrics, once; a second call gives the same metrics.
///
/// Where another recorder is set already (an embedding program's), that one gets the samples and these stay empty.
pub fn install() -> Metrics {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets(&BUCKETS)
                .unwrap_or_else(|_| PrometheusBuilder::new()) // refused only when BUCKETS is empty
                .build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_ok() {
                describe();
            }
            Metrics(handle)
        })
        .clone()
}

fn describe() {
    for m in ALL {
        match m.kind {
            Kind::Counter => describe_counter!(m.name, m.unit, m.help),
            Kind::Gauge => describe_gauge!(m.name, m.unit, m.help),
            Kind::Histogram => describe_histogram!(m.name, m.unit, m.help),
        }
    }
}

/// An association was accepted or refused.
pub fn association(accepted: bool) {
    counter!("sund_associations_total", "result" => if accepted { "accepted" } else { "refused" }).increment(1);
}

/// Associations that are open now.
pub fn associations_open(open: u32) {
    gauge!("sund_associations_open").set(f64::from(open));
}

/// An instance of `bytes` was answered with success, `took` after its request began.
pub fn instance_received(bytes: u64, took: Duration) {
    counter!("sund_instances_received_total").increment(1);
    counter!("sund_received_bytes_total").increment(bytes);
    histogram!("sund_cstore_seconds").record(took);
}

/// The spool's figures.
pub fn spool(now: &SpoolStatus) {
    gauge!("sund_spool_bytes").set(now.bytes as f64);
    gauge!("sund_spool_quota_bytes").set(now.quota as f64);
    gauge!("sund_spool_accepting").set(f64::from(u8::from(now.accepting)));
    gauge!("sund_spool_damaged").set(now.damaged as f64);
}

/// Jobs that wait and that run.
pub fn jobs(waiting: usize, running: usize) {
    gauge!("sund_jobs", "state" => "waiting").set(waiting as f64);
    gauge!("sund_jobs", "state" => "running").set(running as f64);
}

/// A stage took so long; `stage` is the name of its module.
pub fn stage(stage: &'static str, took: Duration) {
    histogram!("sund_stage_seconds", "stage" => stage).record(took);
}

/// A network took so long. Both names are the package's own, which was looked at when it was loaded.
pub fn network(model: &str, network: &str, took: Duration) {
    histogram!("sund_network_seconds", "model" => model.to_owned(), "network" => network.to_owned()).record(took);
}

/// From a study's last C-STORE response to its first result's C-STORE request.
pub fn first_result(took: Duration) {
    histogram!("sund_first_result_seconds").record(took);
}

/// A job ended. `model` is the manifest's name.
pub fn outcome(model: &str, outcome: Outcome) {
    counter!("sund_outcomes_total", "model" => model.to_owned(), "outcome" => outcome.sentence()).increment(1);
}

/// Whether a model is switched off. `model` is the manifest's name.
pub fn model_suspended(model: &str, is_suspended: bool) {
    gauge!("sund_model_suspended", "model" => model.to_owned()).set(f64::from(u8::from(is_suspended)));
}

/// What may hold a GPU's clocks down, as the metric names it.
const THROTTLES: [&str; 4] = ["power", "heat", "power-brake", "hardware"];

/// What a GPU tells of itself; `None` for what it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuFigures {
    /// Part of the time in which it ran something, 0 to 1.
    pub utilisation: Option<f64>,
    /// Bytes of its memory in use.
    pub memory_used: Option<u64>,
    /// Bytes of its memory.
    pub memory_total: Option<u64>,
    /// Temperature, in degrees Celsius.
    pub celsius: Option<u32>,
    /// Power, in watts.
    pub watts: Option<f64>,
    /// Whether its clocks are held down by its power, its heat, the power supply's brake, or its hardware.
    pub throttles: Option<[bool; 4]>,
    /// Memory errors that were corrected, in its lifetime.
    pub ecc_corrected: Option<u64>,
    /// Memory errors that were not.
    pub ecc_uncorrected: Option<u64>,
}

/// A GPU's figures; `gpu` is its UUID.
pub fn gpu(gpu: &str, now: &GpuFigures) {
    let gauge_of = |name: &'static str, value: Option<f64>| {
        if let Some(value) = value {
            gauge!(name, "gpu" => gpu.to_owned()).set(value);
        }
    };
    gauge_of("sund_gpu_utilisation", now.utilisation);
    gauge_of("sund_gpu_memory_used_bytes", now.memory_used.map(|bytes| bytes as f64));
    gauge_of("sund_gpu_memory_bytes", now.memory_total.map(|bytes| bytes as f64));
    gauge_of("sund_gpu_celsius", now.celsius.map(f64::from));
    gauge_of("sund_gpu_watts", now.watts);
    for (by, is_held) in now.throttles.into_iter().flat_map(|held| THROTTLES.into_iter().zip(held)) {
        gauge!("sund_gpu_throttled", "gpu" => gpu.to_owned(), "by" => by).set(f64::from(u8::from(is_held)));
    }
    for (kind, errors) in [("corrected", now.ecc_corrected), ("uncorrected", now.ecc_uncorrected)] {
        if let Some(errors) = errors {
            counter!("sund_gpu_ecc_errors_total", "gpu" => gpu.to_owned(), "kind" => kind).absolute(errors);
        }
    }
}

/// The driver told of errors of a GPU.
pub fn gpu_errors(gpu: &str, count: u64) {
    counter!("sund_gpu_errors_total", "gpu" => gpu.to_owned()).increment(count);
}

/// A worker tells of the GPUs from now on, or none does.
pub fn gpus_monitored(is_monitored: bool) {
    gauge!("sund_gpu_monitored").set(f64::from(u8::from(is_monitored)));
}

/// A GPU that was lost again and again is left alone from now on, or used again.
pub fn gpu_left(gpu: &str, is_left: bool) {
    gauge!("sund_gpu_left", "gpu" => gpu.to_owned()).set(f64::from(u8::from(is_left)));
}

/// A worker was started anew.
pub fn worker_restart(cause: &'static str) {
    counter!("sund_worker_restarts_total", "cause" => cause).increment(1);
}

/// How an attempt to deliver a result ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The destination confirmed it.
    Delivered,
    /// It will be tried again.
    Failed,
    /// It was given up.
    Dead,
    /// It is held: the destination has the study under another patient.
    Held,
}

/// An attempt to deliver a result. `destination` is its name in the configuration.
pub fn delivery(destination: &str, result: Delivery) {
    let result = match result {
        Delivery::Delivered => "delivered",
        Delivery::Failed => "failed",
        Delivery::Dead => "dead",
        Delivery::Held => "held",
    };
    counter!("sund_delivery_total", "destination" => destination.to_owned(), "result" => result).increment(1);
}

/// Results that wait for a destination.
pub fn delivery_waiting(destination: &str, waiting: u64) {
    gauge!("sund_delivery_waiting", "destination" => destination.to_owned()).set(waiting as f64);
}

/// Something was refused or failed; `code` is the fault's stable code. One that a worker made up counts as `other`: each label is kept for
/// as long as the agent runs, and whoever collects metrics reads them.
pub fn refusal(code: &str) {
    counter!("sund_refusals_total", "code" => refusals::known(code).unwrap_or("other")).increment(1);
}

/// So many more events are durable in the audit log.
pub fn audit_events(events: usize) {
    counter!("sund_audit_events_total").increment(events as u64);
}

/// So many events wait for the collector of the audit log.
pub fn audit_waiting(events: u64) {
    gauge!("sund_audit_waiting").set(events as f64);
}

/// When the clinical certificate ends.
pub fn certificate_ends(at: SystemTime) {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge!("sund_certificate_ends_seconds").set(seconds.as_secs_f64());
}

/// How a login to the console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// A session began.
    Accepted,
    /// Wrong user or password.
    Refused,
    /// Too many failures before it.
    Throttled,
}

/// A login to the console.
pub fn login(result: LoginResult) {
    let result = match result {
        LoginResult::Accepted => "accepted",
        LoginResult::Refused => "refused",
        LoginResult::Throttled => "throttled",
    };
    counter!("sund_console_logins_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_what_the_list_says() {
        let metrics = install();
        association(true);
        associations_open(2);
        instance_received(512 * 1024, Duration::from_millis(1));
        spool(&SpoolStatus {
            bytes: 1,
            quota: 2,
            instances: 3,
            unconsidered: 0,
            accepting: true,
            lack: None,
            damaged: 4,
        });
        jobs(1, 1);
        stage("infer", Duration::from_secs(2));
        network("brain", "coarse", Duration::from_secs(1));
        first_result(Duration::from_secs(3));
        outcome("brain", Outcome::NoFinding);
        worker_restart("killed");
        let figures = GpuFigures {
            utilisation: Some(0.5),
            memory_used: Some(1),
            memory_total: Some(2),
            celsius: Some(60),
            watts: Some(72.5),
            throttles: Some([false, true, false, false]),
            ecc_corrected: Some(3),
            ecc_uncorrected: None,
        };
        gpu("GPU-1", &figures);
        gpu_errors("GPU-1", 2);
        gpus_monitored(true);
        gpu_left("GPU-1", true);
        model_suspended("brain", true);
        delivery("pacs", Delivery::Dead);
        delivery_waiting("pacs", 3);
        refusal("volume-mixed-spacing");
        audit_events(1);
        audit_waiting(1);
        certificate_ends(SystemTime::now());
        login(LoginResult::Refused);
        let text = metrics.render();
        let mut shown: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()).collect();
        let mut listed: Vec<&str> = ALL.iter().map(|m| m.name).collect();
        shown.sort_unstable();
        listed.sort_unstable();
        assert_eq!(shown, listed);
        for m in ALL {
            assert!(text.contains(&format!("# HELP {} {}", m.name, m.help)), "{}", m.name);
            for label in m.labels {
                assert!(
                    text.lines().any(|l| l.starts_with(m.name) && l.contains(&format!("{label}=\""))),
                    "{} lacks its label {label}",
                    m.name
                );
            }
        }
    }

    #[test]
    fn installing_twice_gives_the_same_metrics() {
        let (first, second) = (install(), install());
        refusal("spool-damaged");
        assert_eq!(
            first.render().contains("code=\"spool-damaged\""),
            second.render().contains("code=\"spool-damaged\"")
        );
    }

    #[test]
    fn codes_that_are_not_ours_share_one_label_and_their_text_stays_here() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            (0..1000).for_each(|n| refusal(&format!("patient-19470823-{n}")));
            refusal("spool-damaged");
        });
        let text = recorder.handle().render();
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("sund_refusals_total{")).collect();
        assert_eq!(told.len(), 2, "{text}");
        assert!(told.contains(&"sund_refusals_total{code=\"other\"} 1000"), "{text}");
    }
}
