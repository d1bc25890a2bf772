//! The real program on a temporary folder, as a user runs it.

mod access;
mod bad_input;
mod config;
mod crash;
mod deliver;
mod demo;
mod description;
mod destinations;
mod documents;
mod durability;
mod helper;
mod http;
mod isolation;
mod log;
mod pages;
mod postgres;
mod runs;
mod s3;
mod schedules;
mod secrets;
mod serve;
mod server;
mod tls;
mod tour;
mod upkeep;
mod uploads;
