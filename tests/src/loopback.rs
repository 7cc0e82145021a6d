//! Addresses that nobody else uses: the whole of 127.0.0.0/8 is this machine's.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback address that no other server of these tests has. Where a server dies, nobody else comes to answer in its place, whatever
/// ports other tests are given meanwhile; and it finds its port free when it comes back.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // Test binaries that run at the same time keep out of each other's way.
    let [.., process] = (process::id() % 0x80).to_be_bytes();
    Ipv4Addr::new(127, 0x80 | process, high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let (first, second) = (own_address(), own_address());
        assert_ne!(first, second);
        assert!(first.is_loopback() && second.is_loopback());
        assert!(std::net::TcpListener::bind((first, 0)).is_ok());
    }
}
