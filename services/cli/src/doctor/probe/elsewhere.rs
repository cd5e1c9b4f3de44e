//! Where there is no such confinement there is nothing to try.

use serde_json::{Value, json};

use super::check::{Check, Found};
use super::running::Running;
use crate::failure::Failure;
use crate::out::{Out, Style};
use crate::place::Place;

pub const CHECKS: &[Check] = &[];

/// There never is one.
pub enum Matrix {}

impl Matrix {
    pub fn findings(&self) -> Vec<Found> {
        match *self {}
    }

    pub fn text(&self, _: Style, _: bool) -> String {
        match *self {}
    }

    pub fn json(&self) -> Value {
        match *self {}
    }
}

/// Says so.
pub async fn run(_: &Place, _: &Running, _: Out) -> Result<Matrix, Failure> {
    Err(Failure::new("doctor.probe", "--probe needs Linux"))
}

pub fn schema() -> Value {
    json!({})
}
