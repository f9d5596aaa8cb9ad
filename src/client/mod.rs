//! The client: names, requests with retries, measurements of the offset, samples for chronyd.

pub mod chrony;
pub mod clocks;
pub mod measure;
pub mod query;
pub mod resolve;
