//! Integration tests of the agent: one binary, one module for each promise.
mod audit;
mod config;
mod console;
mod decode;
mod hospital;
mod model;
mod refusals;
mod results;
mod serve;
mod spool;
mod worker;
