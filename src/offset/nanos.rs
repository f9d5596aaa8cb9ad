//! Times and durations in nanoseconds.

/// Signed nanoseconds. With 128 bits no time that a server may report overflows the arithmetic.
pub type Nanos = i128;

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
