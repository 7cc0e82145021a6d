//! A certificate authority for one test, and certificates that it has signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A certificate authority that nobody but this test trusts.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

/// A certificate and its key, as PEM files. They live as long as their [`Authority`].
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// If `openssl` is not installed; the message says how to install it.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self {
            directory: TempDir::with_prefix("authority-").expect("a temporary directory can be made"),
        };
        let (certificate, key) = (authority.file("ca.crt"), authority.file("ca.key"));
        let extensions = ["-addext", "basicConstraints=critical,CA:TRUE"];
        authority.openssl(
            &[
                &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
                &extensions[..],
            ]
            .concat(),
            &[("-keyout", &key), ("-out", &certificate)],
            "/CN=test authority",
        );
        authority
    }

    /// The file to trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// Signs a certificate for the given names, as in `DNS:localhost,IP:127.0.0.1`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn sign(&self, names: &str) -> Certificate {
        let certificate = Certificate { certificate: self.file("server.crt"), key: self.file("server.key") };
        let (request, extensions) = (self.file("server.csr"), self.file("server.ext"));
        fs::write(&extensions, format!("subjectAltName={names}\n")).expect("the directory is ours");
        self.openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            &[("-keyout", &certificate.key), ("-out", &request)],
            "/CN=test server",
        );
        self.openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial"],
            &[
                ("-in", &request),
                ("-CA", &self.certificate()),
                ("-CAkey", &self.file("ca.key")),
                ("-extfile", &extensions),
                ("-out", &certificate.certificate),
            ],
            "",
        );
        certificate
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str], files: &[(&str, &Path)], subject: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::null());
        for (flag, file) in files {
            command.arg(flag).arg(file);
        }
        if !subject.is_empty() {
            command.args(["-subj", subject]);
        }
        let output = command.output().unwrap_or_else(|error| {
            panic!("this test needs openssl ({error}): run `apt-get install openssl`")
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?} failed:\n{said}");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
