//! The binary: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    malloc::set_up();
    mds::main()
}
