//! What the command lines of both programs share.

pub mod args;
pub mod generate;
pub mod logging;
