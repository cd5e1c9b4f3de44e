//! The command line, one program under two names. It talks to the running assistant over the operator's sockets and
//! parses the configuration file; it holds no secret and opens no network connection.

mod access;
mod accounts;
mod apply;
mod approvals;
mod args;
mod audit;
mod chat;
mod check;
mod config;
mod credentials;
mod dial;
mod doctor;
mod failure;
mod login;
mod logs;
mod manager;
mod out;
mod pairing;
mod place;
mod reach;
mod remote;
mod rights;
mod run;
mod sandbox;
mod service;
mod sessions;
mod status;
mod steps;
mod topology;
mod up;

pub use args::command;
pub use doctor::{markdown as checks_markdown, schema as doctor_schema};
pub use run::run;
