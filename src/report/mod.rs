//! The offsets of several servers as output: text, JSON, the line of a monitoring plugin, a plot.
//! Pure: measurements in, strings out.

mod json;
mod nagios;
pub mod plot;
mod results;
mod summary;
mod text;
pub mod units;

pub use nagios::{Limits, Status};
pub use results::{AddressResult, Failure, HostResult, Report};
pub use summary::Summary;
