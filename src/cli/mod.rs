//! The parts of the command line that both programs share.

pub mod args;
pub mod generate;
pub mod logging;
