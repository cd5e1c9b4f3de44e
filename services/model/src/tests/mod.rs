//! The whole worker against the fake provider, with stand-ins for policy, broker and dialer on real edges.

mod bad_input;
mod keys;
mod requests;
mod rig;
