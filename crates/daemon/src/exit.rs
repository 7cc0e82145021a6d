//! How a daemon ends: a code for scripts and a message that says what to do.

use std::fmt;
use std::process;

/// The exit codes of the daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: all is well.
    Ok,
    /// 1: anything that has no code of its own.
    Failed,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 4: the broker cannot be reached, or does not let this daemon work.
    Broker,
    /// 5: another tracker is online.
    AnotherTracker,
    /// 6: the data directory cannot be used.
    Store,
}

/// What `--help` says below the flags.
pub const HELP: &str = "\
'--print-config' shows all settings with their defaults.

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 4 broker unreachable or unfit, 5 (tracker)
another tracker is online, 6 the data directory cannot be used.";

impl ExitCode {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Broker => 4,
            Self::AnotherTracker => 5,
            Self::Store => 6,
        }
    }
}

/// Why a daemon ends, and with which code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub code: ExitCode,
    /// The whole chain of causes; it is printed once, at the top.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with this code.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// A failure with this code and text.
    pub fn text(code: ExitCode, text: impl fmt::Display) -> Self {
        Self { code, error: anyhow::anyhow!("{text}") }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: ExitCode::Failed, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Some errors tell their cause in their own words already.
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        f.write_str(&text)
    }
}

/// Ends `main`: prints the failure, if there is one, and gives the code.
pub fn conclude(program: &str, result: Result<(), Failure>) -> process::ExitCode {
    match result {
        Ok(()) => ExitCode::Ok.number().into(),
        Err(failure) => {
            if tracing::dispatcher::has_been_set() {
                tracing::error!(exit_code = failure.code.number(), "{failure}");
            } else {
                eprintln!("{program}: {failure}");
            }
            failure.code.number().into()
        }
    }
}
