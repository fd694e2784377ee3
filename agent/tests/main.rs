//! Integration tests of the agent: one binary, one module for each promise.
mod audit;
mod config;
mod console;
mod decode;
mod documents;
mod engines;
mod model;
mod results;
mod serve;
mod spool;
mod vendor;
