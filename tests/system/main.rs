//! System tests: the package on a real systemd, and other hosts that send requests to it.
//!
//! Each test boots a machine of its own (see `machine` and `boot`), installs the package as an
//! administrator would, and checks what systemd/README.md promises. The commands of that page and
//! of README.md are run as printed (see `documents`). Where this host cannot boot a machine,
//! because root, systemd or a tool is missing, the tests are skipped.

// Tests, by subject.
mod access;
mod archive;
mod check;
mod client;
mod install;
mod options;
mod quick_start;
mod restart;
mod rpm;
mod sandbox;
mod several;
mod status;
mod wait;

// What they share.
mod documents;
mod load;
mod machine;
mod network;
mod package;
