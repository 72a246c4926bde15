//! The command line from outside: the real binary, real controllers on loopback, exact words and exit codes.

mod bmc;
mod enrolling;
mod founding;
mod joining;
mod lab;
mod members;
mod operating;
