//! The device's side, against real servers, real files and other people's software.
mod agent;
mod appliance;
mod channel;
mod conversation;
mod deployment;
mod enrolment;
mod goosebit;
mod kill;
mod region;
mod shapes;
mod status;
mod system;
mod threats;
