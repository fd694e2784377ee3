//! ONNX Runtime on the CPU: opened at run time where it is installed. Faster than tract on large volumes, and its oracle.
use super::{Engine, Network, Tensor, checked, failed};
use crate::fault::{Blame, Fault};
use crate::inference::EngineUsed;
use crate::limits::model::MAX_SESSIONS;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor as OrtTensor;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What the process has opened: the library allows one environment.
static OPENED: Mutex<Option<(PathBuf, Environment, String)>> = Mutex::new(None);

/// Networks with their sessions, the newest last.
pub struct OnnxRuntimeEngine {
    environment: Environment,
    version: String,
    sessions: Vec<(String, Session)>,
}

impl OnnxRuntimeEngine {
    /// Opens the library. It stays open as long as the process lives: another one needs another process.
    pub fn open(library: &Path) -> Result<Self, Fault> {
        let unusable = |why: &dyn std::fmt::Display| {
            let reason = format!("{} cannot serve as ONNX Runtime: {why}", library.display());
            Fault::new("engine-unavailable", Blame::Configuration, reason)
        };
        // An absolute path: a name alone would be looked for beside this program and in the system's folders.
        let path = library.canonicalize().map_err(|error| unusable(&error))?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let (environment, version) = match opened.as_ref() {
            Some((known, ..)) if *known != path => {
                return Err(unusable(&format!("{} is open in this process", known.display())));
            }
            Some((_, environment, version)) => (environment.clone(), version.clone()),
            None => {
                let environment = ort::init_from(&path).map_err(|error| unusable(&error))?;
                let environment = environment.with_name("sund").with_telemetry(false).build();
                let environment = environment.map_err(|error| unusable(&error))?;
                let version = version(ort::info(), &path);
                *opened = Some((path, environment.clone(), version.clone()));
                (environment, version)
            }
        };
        Ok(Self { environment, version, sessions: Vec::new() })
    }

    fn session(&mut self, name: &str, network: &Network<'_>) -> Result<&mut Session, Fault> {
        let at = match self.sessions.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                if self.sessions.len() >= MAX_SESSIONS {
                    self.sessions.remove(0);
                }
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                let bytes = network()?;
                let load = || -> ort::Result<Session> {
                    Session::builder(&self.environment)?.with_intra_threads(threads)?.commit_from_memory(&bytes)
                };
                let session = load().map_err(|error| failed(name, "cannot be loaded", &error))?;
                self.sessions.push((name.to_owned(), session));
                self.sessions.len() - 1
            }
        };
        Ok(&mut self.sessions[at].1)
    }

    fn run_session(session: &mut Session, input: Tensor) -> ort::Result<Option<Tensor>> {
        let input = OrtTensor::from_array((input.shape, input.values))?;
        let outputs = session.run(ort::inputs![input])?;
        let Some((_, output)) = outputs.iter().next() else { return Ok(None) };
        let (shape, values) = output.try_extract_tensor::<f32>()?;
        let shape = shape.iter().map(|length| usize::try_from(*length).unwrap_or(0)).collect();
        Ok(Some(Tensor { shape, values: values.to_vec() }))
    }
}

/// The version in what the library says of its build (`... git-branch=rel-1.32.0, git-commit-id=...`); a library that was built on
/// another branch has it in the name of its file (`libonnxruntime.so.1.32.0`).
fn version(info: &str, file: &Path) -> String {
    let told = info.split("rel-").nth(1).and_then(|rest| rest.split(',').next());
    let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once(".so."));
    told.or(name.map(|(_, version)| version)).unwrap_or("unknown").to_owned()
}

impl Engine for OnnxRuntimeEngine {
    fn used(&self) -> EngineUsed {
        EngineUsed { class: "onnxruntime".into(), precision: "fp32".into(), version: self.version.clone() }
    }

    fn unload(&mut self) {
        self.sessions.clear();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        let session = self.session(name, network)?;
        let output = Self::run_session(session, input).map_err(|error| failed(name, "failed", &error))?;
        checked(name, output.ok_or_else(|| failed(name, "failed", &"it gives no output"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_library_says_or_the_name_of_its_file() {
        let file = Path::new("/lib/libonnxruntime.so.1.32.0");
        assert_eq!(version("ORT Build Info: git-branch=rel-1.31.1, git-commit-id=0", file), "1.31.1");
        assert_eq!(version("ORT Build Info: git-branch=HEAD, git-commit-id=0", file), "1.32.0");
        assert_eq!(version("ORT Build Info: git-branch=HEAD", Path::new("/lib/libonnxruntime.so")), "unknown");
    }
}
