//! Buffers that are used again: memory fresh from the kernel costs as much as hashing what goes into it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Most bytes that lie idle in the pool.
const MAX_IDLE_BYTES: usize = 2 << 20;
/// Buffers are a multiple of this long, so that fragments of nearly one size share them.
const ROUND_BYTES: usize = 64 << 10;

/// A pool of buffers for fragments that are read.
#[derive(Debug, Clone, Default)]
pub(super) struct BufferPool(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl BufferPool {
    /// A buffer of `length` bytes with arbitrary content.
    pub fn take(&self, length: usize) -> Buffer {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.buffers.iter().rposition(|buffer| buffer.len() >= length);
        let bytes = match found {
            Some(at) => {
                let buffer = idle.buffers.swap_remove(at);
                idle.bytes -= buffer.len();
                buffer
            }
            None => vec![0; length.next_multiple_of(ROUND_BYTES)],
        };
        Buffer { bytes, length, pool: Arc::downgrade(&self.0) }
    }
}

/// A buffer that goes back to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    pool: Weak<Mutex<Idle>>,
}

impl Buffer {
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// The content without a copy; the buffer goes back when the last clone is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.bytes + self.bytes.len() <= MAX_IDLE_BYTES {
            idle.bytes += self.bytes.len();
            idle.buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_all_who_read_it_are_done() {
        let pool = BufferPool::default();
        let mut buffer = pool.take(3);
        buffer.as_mut().copy_from_slice(b"abc");
        let content = buffer.into_bytes();
        let (address, clone) = (content.as_ptr(), content.clone());
        drop(content);
        assert_ne!(pool.take(3).as_ref().as_ptr(), address);
        assert_eq!(clone, &b"abc"[..]);
        drop(clone);
        assert!(pool.0.lock().unwrap().buffers.iter().any(|buffer| buffer.as_ptr() == address));
    }

    #[test]
    fn the_pool_keeps_a_bounded_number_of_bytes() {
        let pool = BufferPool::default();
        let taken: Vec<_> = (0..40).map(|_| pool.take(1 << 20)).collect();
        drop(taken);
        assert_eq!(pool.0.lock().unwrap().bytes, MAX_IDLE_BYTES);
    }
}
