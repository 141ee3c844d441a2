//! `mfsha-admin`: see `mfsha_net_real::admin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mfsha_net_real::admin::main()
}
