//! `doctor --probe`: every process as if somebody had taken it over. A probe is started and confined as the process is,
//! tries to break out, and what came of it is compared with the table of what is expected.

mod answer;
mod matrix;
mod person;
mod single;
mod stage;
mod system;
mod unit;

pub use matrix::{CHECKS, Matrix, schema};

use super::running::Running;
use crate::failure::Failure;
use crate::out::Out;
use crate::place::Place;

/// Tries all processes of this place.
///
/// # Errors
/// When nobody can be tried here, or it was interrupted.
pub async fn run(place: &Place, running: &Running, out: Out) -> Result<Matrix, Failure> {
    let subjects = match place.is_system() {
        true => system::try_all(running, out).await?,
        false => single::try_all(running, out).await?,
    };
    Matrix::new(subjects).map_err(|error| Failure::new("doctor.probe", error))
}
