//! The offsets of several servers as output: text, JSON, the line of a monitoring plugin, a plot.
//! Pure: measurements in, strings out.

mod json;
mod nagios;
mod plot;
mod results;
mod screen;
mod summary;
mod text;
pub mod units;

pub use nagios::{Limits, Range, RangeError, Status};
pub use results::{AddressResult, Failure, HostResult, Report};
pub use screen::{Entry, Screen, Size, wrap};
pub use summary::Summary;
