//! The device's side, against real servers, real files and other people's software.
mod agent;
mod appliance;
mod channel;
mod deployment;
mod region;
mod shapes;
