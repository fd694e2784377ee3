//! Integration tests of the agent: one binary, one module for each promise.
mod audit;
mod console;
mod model;
mod results;
mod spool;
