//! Integration tests of the agent: one binary, one module for each promise.
mod audit;
mod config;
mod console;
mod decode;
mod documents;
mod hospital;
mod model;
mod results;
mod serve;
mod spool;
mod study;
mod vendor;
mod worker;
