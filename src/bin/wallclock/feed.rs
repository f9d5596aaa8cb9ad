//! `--chrony`: sends the offsets to chronyd, and reports when there is nothing to send.

use std::time::Instant;

use wallclock::client::chrony::{ChronyFeed, Outage, max_bound};
use wallclock::error::error_chain;
use wallclock::offset::Nanos;
use wallclock::report::Report;
use wallclock::report::units::format_duration;

use crate::output::print_warning;

/// Sends offsets to chronyd and reports failures.
pub struct Feed {
    chronyd: ChronyFeed,
    /// The maximum bound of an offset that is sent, if it is not the default.
    max_bound: Option<Nanos>,
    /// Whether the last sample could not be sent.
    failed: bool,
    outage: Outage,
}

impl Feed {
    pub fn new(chronyd: ChronyFeed, max_bound: Option<Nanos>) -> Feed {
        Feed {
            chronyd,
            max_bound,
            failed: false,
            outage: Outage::new(Instant::now()),
        }
    }

    /// Sends the offset of one measurement, if its bound is small enough.
    pub fn send(&mut self, report: &Report) {
        let now = Instant::now();
        match self.send_or_refuse(report) {
            Ok(()) => self.outage.end(now),
            Err(reason) => {
                if let Some(length) = self.outage.warning_is_due(now) {
                    let seconds = length.as_secs();
                    print_warning(format_args!(
                        "no sample for chronyd for {seconds} s: {reason}"
                    ));
                }
            }
        }
    }

    /// Returns why there is nothing to send.
    fn send_or_refuse(&mut self, report: &Report) -> Result<(), String> {
        let Some(offset) = report.agreed() else {
            let (_, reason) = report.offset_and_remark();
            return Err(reason);
        };
        let max_bound = self.max_bound.unwrap_or(max_bound(report.clocks()));
        let bound = offset.bound();
        if bound > max_bound {
            return Err(format!(
                "the bound is {}, the maximum {}",
                format_duration(bound),
                format_duration(max_bound)
            ));
        }
        let result = self.chronyd.send(offset, report.time());
        // Of several failures in a row only the first is reported, because a restart of chronyd is
        // over soon.
        if let Err(error) = &result
            && !self.failed
        {
            print_warning(format_args!("feed chronyd: {}", error_chain(error)));
        }
        self.failed = result.is_err();
        Ok(())
    }
}
