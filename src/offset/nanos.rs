//! Times, durations and rates.

/// Signed nanoseconds. With 128 bits no time that a server may report overflows the arithmetic.
pub type Nanos = i128;

/// Parts per million.
pub type Ppm = u32;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Default for how late the seconds of a whole-second server may begin: 10 ms.
///
/// time(2) of glibc, and with it Python's `time.strftime`, returns the time of the kernel's last
/// tick (CLOCK_REALTIME_COARSE), not that of the clock. A tick is 1 to 10 ms long (CONFIG_HZ), most
/// often 4 ms; on a virtual machine with ticks of 4 ms the reported time was up to 7.5 ms late. A
/// response does not show whether its server reads the clock or the tick. Without this allowance
/// the bound would be narrow and false for a server that reads the tick.
pub const TICK: Nanos = 10_000_000;

/// Default for how much faster or slower the clock of a nanosecond server may run than the raw
/// clock: 10 %.
///
/// Linux slews a clock by up to 10 % (the tick of adjtimex(2)), chronyd by up to 83,333 ppm
/// (`maxslewrate`). The samples follow each other at once, so a large value costs little: a tenth
/// of a round trip.
pub const DEFAULT_MAX_SLEW: Ppm = 100_000;

/// The same for a server with whole seconds: 500 ppm.
///
/// Its samples are a second apart, and a large value would widen the bound by as much. 500 ppm is
/// the range of the frequency that NTP corrects (RFC 5905, section 11.3). A clock that is slewed
/// faster contradicts itself from one second to the next.
pub const DEFAULT_MAX_SLEW_SECONDS: Ppm = 500;
