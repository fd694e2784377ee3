//! From ONNX to a plan.
use super::boundary::{self, Blob, Dims, Why};
use super::error::TensorRtError;
use super::library::{Kind, Library};
use super::{MAX_NAME, MAX_NETWORK, MAX_PLAN, MAX_PROFILES, MAX_TENSORS, MAX_THREADS};
use std::ffi::CString;

/// Compute capabilities that TensorRT-RTX compiles for: 75 is 7.5.
pub const RTX_TARGETS: [u32; 6] = [75, 80, 86, 89, 120, 121];

/// What a plan is to be. Reals of 32 bits stay so: TensorFloat-32 is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Compute capabilities of the GPUs that the plan is for, out of [`RTX_TARGETS`]. Empty: the GPU of this machine, which is
    /// all that enterprise TensorRT can do.
    pub targets: Vec<u32>,
    /// Optimisation profiles, each with every input that has a dynamic axis. Empty where no input has one.
    pub profiles: Vec<Vec<ProfileInput>>,
    /// Most bytes of scratch memory that a layer may ask for; none: what the GPU has.
    pub workspace: Option<u64>,
    /// Threads of the builder; none: one.
    pub threads: Option<usize>,
}

/// The shapes of an input that a plan takes, and the one that it is tuned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileInput {
    /// Its name in the network.
    pub name: String,
    /// Shortest in each axis.
    pub min: Vec<i64>,
    /// Usual.
    pub opt: Vec<i64>,
    /// Longest in each axis.
    pub max: Vec<i64>,
}

/// Compiles a network. The plan is for this very version of TensorRT and these GPUs.
pub fn build(library: &Library, onnx: &[u8], options: &BuildOptions) -> Result<Vec<u8>, TensorRtError> {
    check_targets(library.kind(), &options.targets)?;
    TensorRtError::bounded("the network's length", onnx.len(), MAX_NETWORK)?;
    TensorRtError::bounded("the number of profiles", options.profiles.len(), MAX_PROFILES)?;
    let threads = options.threads.unwrap_or(1);
    TensorRtError::bounded("the number of threads", threads, MAX_THREADS)?;
    let names = names(&options.profiles)?;
    let ranges = ranges(&options.profiles, &names)?;
    let targets: Vec<i32> = options.targets.iter().map(|target| *target as i32).collect();
    let entries = library.entries_with_parser()?;
    let request = boundary::Build {
        onnx: onnx.as_ptr(),
        onnx_size: onnx.len(),
        targets: targets.as_ptr(),
        target_count: targets.len(),
        ranges: ranges.as_ptr(),
        range_count: ranges.len(),
        workspace: options.workspace.unwrap_or(0),
        threads: threads as i32,
    };
    let (mut blob, mut why) = (Blob::empty(), Why::new());
    // SAFETY: the entries are of a library of the version that the shim was built for; every pointer in `request` is that of
    // a slice or a string above which lives until after the call, with its length.
    let status =
        unsafe { (library.table().build)(&raw const entries, &raw const request, &raw mut blob, &raw mut why) };
    TensorRtError::check(library.kind(), status, &why)?;
    take(library, blob, "the plan's length", MAX_PLAN)
}

/// Copies what TensorRT made and gives its memory back.
pub(super) fn take(library: &Library, blob: Blob, what: &'static str, limit: usize) -> Result<Vec<u8>, TensorRtError> {
    if blob.owner.is_null() {
        return Ok(Vec::new());
    }
    let bytes = TensorRtError::bounded(what, blob.size, limit).map(|()| {
        if blob.size == 0 {
            return Vec::new();
        }
        // SAFETY: the shim gives `size` bytes at `data` that live as long as `owner`, which is freed below.
        unsafe { std::slice::from_raw_parts(blob.data, blob.size) }.to_vec()
    });
    // SAFETY: `owner` came from this library's half of the shim and is freed once.
    unsafe { (library.table().free_blob)(blob.owner) };
    bytes
}

fn check_targets(kind: Kind, targets: &[u32]) -> Result<(), TensorRtError> {
    TensorRtError::bounded("the number of targets", targets.len(), RTX_TARGETS.len())?;
    for &target in targets {
        let why = match (kind, target) {
            (Kind::Enterprise, _) => "it compiles on the GPU that the plan is for, and for no other",
            (Kind::Rtx, 90 | 100 | 103) => "it serves no data-centre cards of this kind; enterprise TensorRT does",
            (Kind::Rtx, _) if RTX_TARGETS.contains(&target) => continue,
            (Kind::Rtx, _) => "it serves 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1",
        };
        return Err(TensorRtError::Target { kind, target, why });
    }
    Ok(())
}

/// Names of the inputs, as C has them.
fn names(profiles: &[Vec<ProfileInput>]) -> Result<Vec<CString>, TensorRtError> {
    let mut names = Vec::new();
    for inputs in profiles {
        TensorRtError::bounded("the number of inputs of a profile", inputs.len(), MAX_TENSORS)?;
        for input in inputs {
            TensorRtError::bounded("the length of an input's name", input.name.len(), MAX_NAME)?;
            let name = CString::new(input.name.as_str());
            names.push(name.map_err(|_| options("a name of an input has a zero in it".into()))?);
        }
    }
    Ok(names)
}

/// Each points into `names`.
fn ranges(profiles: &[Vec<ProfileInput>], names: &[CString]) -> Result<Vec<boundary::Range>, TensorRtError> {
    let numbered = profiles.iter().enumerate().flat_map(|(number, inputs)| inputs.iter().map(move |i| (number, i)));
    let range = |((number, input), name): ((usize, &ProfileInput), &CString)| {
        if !ordered(input) {
            return Err(options(format!(
                "the shapes of input {} are not of one rank of at most {}, each axis at least 1 and min <= opt <= max",
                input.name,
                boundary::RANK
            )));
        }
        let dims = |shape: &[i64]| Dims::from_shape(shape).unwrap_or_else(Dims::empty);
        Ok(boundary::Range {
            input: name.as_ptr(),
            profile: number as i32,
            shortest: dims(&input.min),
            usual: dims(&input.opt),
            longest: dims(&input.max),
        })
    };
    numbered.zip(names).map(range).collect()
}

fn ordered(input: &ProfileInput) -> bool {
    let rank = input.opt.len();
    let one_rank = rank <= boundary::RANK && input.min.len() == rank && input.max.len() == rank;
    let mut axes = input.min.iter().zip(&input.opt).zip(&input.max);
    one_rank && axes.all(|((min, opt), max)| 1 <= *min && min <= opt && opt <= max)
}

fn options(why: String) -> TensorRtError {
    TensorRtError::Options { why }
}
