//! `wallclock` as a process: its output, its exit status, and how long it takes.

mod habits;
mod output;
mod query;
mod tries;

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a command. Returns its output and how long it took.
pub fn run(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.output().expect("wallclock runs");
    (output, start.elapsed())
}

/// The exit status, standard output and standard error.
pub fn parts(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Starts a server that sends, for each request, the datagrams that `respond` returns, in order.
///
/// The receiver gets a message for each request, after its responses. It is closed if `respond`
/// panics.
pub fn start_server(
    mut respond: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (String, Receiver<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    let (sender, requests) = channel();
    // The thread ends with this process, or with the first request after the test.
    thread::spawn(move || {
        let mut buf = [0; 2048];
        for number in 0.. {
            let (length, source) = socket.recv_from(&mut buf).expect("a request");
            for response in respond(number, &buf[..length]) {
                socket
                    .send_to(&response, source)
                    .expect("the response is sent");
            }
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

/// A server that never responds.
pub fn silent_server() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

/// The number of requests that a silent server has received.
pub fn count_requests(server: &UdpSocket) -> usize {
    (0..)
        .take_while(|_| server.recv(&mut [0; 2048]).is_ok())
        .count()
}

/// The tag of a request, with the bar after it.
pub fn tag(request: &[u8]) -> &[u8] {
    let (tag, _) = request.split_at(17);
    assert!(
        tag[..16].iter().all(u8::is_ascii_hexdigit) && tag[16] == b'|',
        "{request:?}"
    );
    tag
}
