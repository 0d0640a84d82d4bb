//! Work of a fixed size to measure: a training step, the encoding of one photo, and what the machine
//! could do at most.

mod ceilings;
mod table;
mod work;

pub use ceilings::Ceilings;
pub use table::table;
pub use work::{Kind, Work};
