//! What `kernels/gpu-check` concludes, without a GPU: bars, the table, packages that are compared, and studies on lanes.
#[path = "../../benches/gpu_check/bars.rs"]
mod bars;
mod lanes;
#[path = "../../benches/gpu_check/packages.rs"]
mod packages;
mod packages_told;
#[path = "../../benches/gpu_check/steady.rs"]
mod steady;
#[path = "../../benches/gpu_check/table.rs"]
mod table;
mod tables;
