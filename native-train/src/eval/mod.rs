//! How well prompts work, in numbers: the number-of-clicks protocol and its relatives, on sets of
//! photos with known masks, beside baselines that a model must beat; and the completion of partly
//! visible regions, as in pre-training.
//!
//! [`sets::find`] tells what a folder holds, [`run`] plays every object with every method, [`Report`]
//! is what comes out, with all single numbers, and [`table`], [`curves`] and [`Failures`] show it.

mod complete;
pub mod completion;
mod curves;
mod failures;
mod methods;
mod play;
mod report;
mod run;
pub mod sets;
mod summary;
pub mod table;
mod truth;

pub use curves::curves;
pub use failures::Failures;
pub use methods::{Method, Rig, RigOptions};
pub use report::{ObjectReport, Played, Problem, Report, SetReport, VERSION};
pub use run::{Progress, Settings, run};
pub use summary::{CLICKS, GOALS, Summary};
pub use truth::Truth;
