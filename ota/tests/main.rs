//! The device's side, against real servers, real files and other people's software.
mod bundles;
mod interop;
mod refusals;
mod region;
mod shapes;
mod threats;
mod web;
