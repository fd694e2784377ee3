//! The operations together: geometry that moves nothing, properties, and what scipy and numpy say.
#![allow(clippy::float_cmp, reason = "worked numbers are exact")]
mod cuda;
mod geometry;
mod gpu_check;
mod properties;
mod scipy;
#[cfg(feature = "tensorrt")]
mod tensorrt;
