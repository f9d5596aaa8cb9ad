//! Upper bounds of figures, and the table of them.

use crate::table::{Table, number};

/// An upper bound of one figure.
pub struct Promise {
    pub name: &'static str,
    pub most: f64,
    /// NaN if it was not measured.
    pub measured: f64,
}

impl Promise {
    pub fn new((name, most, measured): (&'static str, f64, f64)) -> Self {
        Self {
            name,
            most,
            measured,
        }
    }

    /// Whether it was measured and does not hold.
    pub fn is_broken(&self) -> bool {
        self.measured > self.most
    }
}

/// Returns the table of the promises of one benchmark.
pub fn table(title: &'static str, promises: &[Promise]) -> Table {
    let mut table = Table::new(title, &["promise", "at most", "measured", "holds"]);
    for promise in promises {
        let holds = match promise {
            _ if promise.is_broken() => "NO",
            _ if promise.measured.is_nan() => "not measured",
            _ => "yes",
        };
        let decimals = if promise.most >= 100.0 { 0 } else { 3 };
        table.row(vec![
            promise.name.into(),
            number(promise.most, decimals),
            number(promise.measured, decimals),
            holds.into(),
        ]);
    }
    table
}
