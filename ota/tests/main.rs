//! The device's side, against real servers, real files and other people's software.
mod bundles;
mod documents;
mod hawkbit_answers;
mod interop;
mod region;
mod goldens;
mod shapes;
mod signed_documents;
mod threats;
mod web;
