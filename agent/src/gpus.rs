//! The GPUs of this box as NVIDIA's management library (NVML) tells them: what they are, how they fare, and what befell them.
//!
//! The library belongs to the driver and is opened at run time; where there is no driver there are no figures, which is no
//! fault. Nothing is computed by it: the agent sees a GPU as a monitoring system does.
use crate::fault::{Blame, Fault};
use crate::infer::Gpu;
use crate::metrics::{self, GpuFigures};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, EventSet, Nvml};
use std::ffi::OsStr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The driver's library, under the name that every distribution gives it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How often the figures are read.
const SAMPLE: Duration = Duration::from_secs(15);
/// How often the wait for events ends, so that a stop of the agent is seen.
const LOOK_UP: Duration = Duration::from_secs(1);

/// What holds a GPU's clocks down, as the metric names it. That nothing runs, or that an operator has set them, is none.
const THROTTLES: [(&str, ThrottleReasons); 4] = [
    ("power", ThrottleReasons::SW_POWER_CAP),
    ("heat", ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN)),
    ("power-brake", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
    ("hardware", ThrottleReasons::HW_SLOWDOWN),
];

/// The GPUs of this box.
pub struct Gpus {
    library: Nvml,
}

impl Gpus {
    /// Opens the driver's library; why there are no figures otherwise.
    pub fn open() -> Result<Self, Fault> {
        Self::open_library(LIBRARY)
    }

    fn open_library(name: &str) -> Result<Self, Fault> {
        Nvml::builder().lib_path(OsStr::new(name)).init().map(|library| Self { library }).map_err(|error| {
            let reason = format!("no driver of NVIDIA tells of GPUs ({name}: {error}): there are no figures of any");
            Fault::new("gpu-unmonitored", Blame::Box, reason)
        })
    }

    /// What a GPU, or part of one, is by the name that `nvidia-smi -L` gives.
    pub fn describe(&self, device: &str) -> Result<Gpu, Fault> {
        let described = || -> Result<Gpu, NvmlError> {
            let found = self.library.device_by_uuid(device)?;
            // A part has the capability of the whole.
            let whole = found.mig_parent_device().ok();
            let capability = whole.as_ref().unwrap_or(&found).cuda_compute_capability()?;
            Ok(Gpu {
                name: found.name()?,
                capability: (capability.major.unsigned_abs(), capability.minor.unsigned_abs()),
                memory: found.memory_info()?.total,
                driver: self.library.sys_driver_version()?,
            })
        };
        described().map_err(|error| {
            let reason =
                format!("[worker] devices names {device}, which is not there: {error}; nvidia-smi -L lists them");
            Fault::new("gpu-not-found", Blame::Configuration, reason)
        })
    }

    /// Keeps the figures current, and counts what befalls the GPUs, until the agent stops. Blocks its thread.
    pub fn watch(&self, stop: &watch::Receiver<bool>) {
        let devices: Vec<(String, Device<'_>)> = (0..self.library.device_count().unwrap_or(0))
            .filter_map(|n| self.library.device_by_index(n).ok())
            .filter_map(|device| Some((device.uuid().ok()?, device)))
            .collect();
        // Without events there are still figures.
        let events = self.events(&devices);
        let mut sampled: Option<Instant> = None;
        while !*stop.borrow() {
            if sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
                for (name, device) in &devices {
                    metrics::gpu(name, &figures(device));
                }
                sampled = Some(Instant::now());
            }
            match events.as_ref().map(|events| events.wait(LOOK_UP.as_millis() as u32)) {
                Some(Ok(event)) => {
                    let name = event.device.uuid().unwrap_or_default();
                    tracing::error!(gpu = name, xid = ?event.event_data, "the driver tells of an error of a GPU");
                    metrics::gpu_error(&name);
                }
                Some(Err(NvmlError::Timeout)) => {}
                Some(Err(_)) | None => std::thread::sleep(LOOK_UP),
            }
        }
    }

    /// Errors that the driver tells of (Xid), of all GPUs that can tell.
    fn events<'gpus>(&'gpus self, devices: &[(String, Device<'gpus>)]) -> Option<EventSet<'gpus>> {
        let mut events = self.library.create_event_set().ok()?;
        for (_, device) in devices {
            events = device.register_events(EventTypes::CRITICAL_XID_ERROR, events).ok()?;
        }
        Some(events)
    }
}

/// What a GPU tells of itself; some tell less.
fn figures(device: &Device<'_>) -> GpuFigures {
    let memory = device.memory_info().ok();
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Aggregate).ok();
    let throttles = device
        .current_throttle_reasons()
        .ok()
        .map(|held| THROTTLES.map(|(name, reasons)| (name, held.intersects(reasons))));
    GpuFigures {
        utilisation: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
        memory_used: memory.as_ref().map(|memory| memory.used),
        memory_total: memory.as_ref().map(|memory| memory.total),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        throttles,
        ecc_corrected: ecc(MemoryError::Corrected),
        ecc_uncorrected: ecc(MemoryError::Uncorrected),
    }
}

/// Which of the GPUs that the configuration names are used, and what is wrong with the others. All that are used are of one
/// kind: which engine serves a model is one answer for the box.
pub fn usable(named: Vec<String>, describe: impl Fn(&str) -> Result<Gpu, Fault>) -> (Vec<String>, Vec<Fault>) {
    let (mut used, mut kind, mut faults) = (Vec::new(), None::<Gpu>, Vec::new());
    for device in named {
        match (describe(&device), &kind) {
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
    fn where_there_is_no_driver_there_are_no_figures_and_one_sentence_says_so() {
        let fault = Gpus::open_library("libnvidia-ml-that-is-nowhere.so.1").err().unwrap();
        assert!(fault.code == "gpu-unmonitored" && fault.reason.contains("there are no figures"), "{fault}");
    }

    #[test]
    fn gpus_that_are_not_there_or_of_another_kind_are_not_used_and_the_others_are() {
        let gpu =
            |name: &str| Gpu { name: name.into(), capability: (8, 9), memory: 1 << 34, driver: "580.95.05".into() };
        let describe = |device: &str| match device {
            "GPU-a" | "GPU-b" => Ok(gpu("NVIDIA L4")),
            "GPU-c" => Ok(gpu("NVIDIA L40S")),
            _ => Err(Fault::new("gpu-not-found", Blame::Configuration, "gone")),
        };
        let named = ["GPU-gone", "GPU-a", "GPU-c", "GPU-b"].map(str::to_owned).to_vec();
        let (used, faults) = usable(named, describe);
        assert_eq!(used, ["GPU-a", "GPU-b"]);
        assert_eq!(
            faults.iter().map(|fault| fault.code.as_ref()).collect::<Vec<_>>(),
            ["gpu-not-found", "gpu-differs"]
        );
        assert_eq!(usable(Vec::new(), describe), (Vec::new(), Vec::new()));
    }
}
