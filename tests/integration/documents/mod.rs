//! The manual pages, the shell completions and the small clients: what they say is compared with
//! the programs, and what they show is run.

mod clients;
mod completions;
mod content;
mod examples;
mod metrics;
mod pages;
mod rendering;
