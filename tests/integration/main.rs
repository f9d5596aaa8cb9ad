//! All tests that need no test program of their own, one module for each subject.

// The repository itself.
mod architecture;
mod documents;
mod licences;
mod line_width;

// The pure modules.
mod protocol;
mod strftime;

// wallclockd, the server.
mod addresses;
mod clock_steps;
mod daemon;
mod faults;
mod hostile;
mod inherited;
mod reuse_port;
mod zone;

// wallclock, the client.
mod client;
mod names;
mod offset;
