//! The GPUs of this box as NVIDIA's management library (NVML) tells them: what they are, how they fare, and what befell them.
//!
//! The library belongs to the driver and opens the device nodes of every GPU, so a worker opens it, at run time, and nobody else:
//! the agent has no such node, and is not to crash or hang with a driver. Where there is no driver there are no figures, which
//! is no fault. Nothing is computed by it.
use super::channel::ChannelError;
use super::message::{GpuError, Told};
use crate::fault::{Blame, Fault};
use crate::infer::Gpu;
use crate::limits::gpus::MAX_ERRORS;
use crate::metrics::GpuFigures;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, EventSet, Nvml};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

/// The driver's library, under the name that every distribution gives it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How often the figures are read.
const SAMPLE: Duration = Duration::from_secs(15);
/// How long errors are gathered before they are told: a storm of one error is one word a second.
const GATHER: Duration = Duration::from_secs(1);

/// What holds a GPU's clocks down, in the order of its figures: power, heat, the power supply's brake, hardware. That nothing
/// runs, or that an operator has set them, is none.
const THROTTLES: [ThrottleReasons; 4] = [
    ThrottleReasons::SW_POWER_CAP,
    ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN),
    ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
    ThrottleReasons::HW_SLOWDOWN,
];

/// Tells what the named GPUs are, then how all fare, until what is said is not heard any more; the fault where no driver tells.
pub(super) fn tell(
    named: &[String],
    say: &mut dyn FnMut(Told) -> Result<(), ChannelError>,
) -> Result<Fault, ChannelError> {
    match Gpus::open(LIBRARY) {
        Err(fault) => Ok(fault),
        Ok(gpus) => {
            say(Told::Described(named.iter().map(|device| gpus.describe(device)).collect()))?;
            gpus.watch(say).map(|never| match never {})
        }
    }
}

/// The GPUs of this box.
struct Gpus {
    library: Nvml,
}

impl Gpus {
    fn open(name: &str) -> Result<Self, Fault> {
        Nvml::builder().lib_path(OsStr::new(name)).init().map(|library| Self { library }).map_err(|error| {
            let reason = format!("no driver of NVIDIA tells of GPUs ({name}: {error}): there are no figures of any");
            Fault::new("gpu-unmonitored", Blame::Box, reason)
        })
    }

    /// What a GPU, or part of one, is by the name that `nvidia-smi -L` gives.
    fn describe(&self, device: &str) -> Result<Gpu, Fault> {
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

    fn watch(&self, say: &mut dyn FnMut(Told) -> Result<(), ChannelError>) -> Result<Infallible, ChannelError> {
        let devices: Vec<(String, Device<'_>)> = (0..self.library.device_count().unwrap_or(0))
            .filter_map(|n| self.library.device_by_index(n).ok())
            .filter_map(|device| Some((device.uuid().ok()?, device)))
            .collect();
        // Without events there are still figures.
        let events = self.events(&devices);
        loop {
            say(Told::Figures(devices.iter().map(|(name, device)| (name.clone(), figures(device))).collect()))?;
            let sampled = Instant::now();
            while sampled.elapsed() < SAMPLE {
                let errors = errors(events.as_ref(), &devices);
                if !errors.is_empty() {
                    say(Told::Errors(errors))?;
                }
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

/// What befalls the GPUs while errors are gathered: the same error of the same GPU once, and how often it came.
fn errors(events: Option<&EventSet<'_>>, devices: &[(String, Device<'_>)]) -> Vec<GpuError> {
    let until = Instant::now() + GATHER;
    let mut errors: Vec<GpuError> = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match events.map(|events| events.wait(left.as_millis() as u32)) {
            Some(Ok(event)) => {
                let gpu = event.device.uuid().ok().or_else(|| silent(devices));
                let xid = match event.event_data {
                    Some(XidError::Value(number)) => Some(number),
                    Some(XidError::Unknown) | None => None,
                };
                let known = errors.iter().position(|error| error.gpu == gpu && error.xid == xid);
                match known {
                    Some(at) => errors[at].count += 1,
                    None if errors.len() < MAX_ERRORS => errors.push(GpuError { gpu, xid, count: 1 }),
                    None => {}
                }
            }
            Some(Err(NvmlError::Timeout)) => {}
            // No event can be waited for: time passes all the same.
            Some(Err(_)) | None => std::thread::sleep(left),
        }
        if Instant::now() + Duration::from_millis(1) > until {
            return errors;
        }
    }
}

/// A GPU that has fallen off the bus tells its UUID no more: the one that does not is meant.
fn silent(devices: &[(String, Device<'_>)]) -> Option<String> {
    devices.iter().find(|(_, device)| device.uuid().is_err()).map(|(name, _)| name.clone())
}

/// What a GPU tells of itself; some tell less.
fn figures(device: &Device<'_>) -> GpuFigures {
    let memory = device.memory_info().ok();
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Aggregate).ok();
    let throttles = device.current_throttle_reasons().ok();
    GpuFigures {
        utilisation: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
        memory_used: memory.as_ref().map(|memory| memory.used),
        memory_total: memory.as_ref().map(|memory| memory.total),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        throttles: throttles.map(|held| THROTTLES.map(|reasons| held.intersects(reasons))),
        ecc_corrected: ecc(MemoryError::Corrected),
        ecc_uncorrected: ecc(MemoryError::Uncorrected),
    }
}
