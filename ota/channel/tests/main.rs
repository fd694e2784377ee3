//! The central side, against real devices, real servers and other people's software.
mod crash;
mod ddi;
mod enrol;
mod fixture;
mod page;
mod people;
mod repository;
mod rollouts;
