//! `wallclock --until` and `wallclock --wait-sync`. The clock of the servers is this machine's, so
//! a COMMAND that prints it shows whether it is early.

mod moments;
mod sleep;
mod statuses;
mod wait_sync;

use std::net::SocketAddr;
use std::process::{Command, Output};

use support::{HANG_TIMEOUT, wallclock};
use wallclock::offset::{Nanos, SECOND};

use crate::offset::servers::wall_clock;

/// Prints this machine's clock, without a libfaketime that the client has.
const PRINT_CLOCK: [&str; 5] = ["env", "-u", "LD_PRELOAD", "date", "+%s.%N"];

/// `wallclock` with these servers, whose time-outs no busy machine reaches.
fn client(servers: &[SocketAddr]) -> Command {
    let mut command = wallclock();
    for server in servers {
        command.args(["--server", &server.to_string()]);
    }
    let timeout = HANG_TIMEOUT.as_secs().to_string();
    command.args(["--timeout", &timeout, "--deadline", &timeout]);
    command
}

/// The next full second that is at least so many seconds away. With six, a client of a busy machine
/// is waiting by then.
fn second_in(seconds: Nanos) -> Nanos {
    wall_clock() / SECOND + seconds + 1
}

/// The time in the output of [`PRINT_CLOCK`].
#[track_caller]
fn printed_time(output: &Output) -> Nanos {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (seconds, nanos) = text.trim_end().split_once('.').expect("a point");
    let number = |digits: &str| digits.parse::<Nanos>().expect("a number");
    number(seconds) * SECOND + number(nanos)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
