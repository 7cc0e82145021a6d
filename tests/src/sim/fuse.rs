//! Where a process may end: before and after everything that it makes durable, and between the things that it says.

/// The process has ended here; what comes after is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blown;

/// Counts the points at which a process may end, and ends it at one of them.
#[derive(Debug, Default)]
pub struct Fuse {
    left: Option<u32>,
    is_blown: bool,
}

impl Fuse {
    /// The process ends at the point after so many others.
    pub const fn arm(&mut self, others: u32) {
        self.left = Some(others);
    }

    /// As good as new.
    pub const fn replace(&mut self) {
        self.left = None;
        self.is_blown = false;
    }

    /// The process comes by a point.
    ///
    /// # Errors
    /// If it ends here, or has ended already.
    pub const fn point(&mut self) -> Result<(), Blown> {
        if self.is_blown {
            return Err(Blown);
        }
        match self.left {
            None => Ok(()),
            Some(0) => {
                self.is_blown = true;
                Err(Blown)
            }
            Some(left) => {
                self.left = Some(left - 1);
                Ok(())
            }
        }
    }

    /// The process ends here, whatever was planned.
    pub const fn blow(&mut self) -> Blown {
        self.is_blown = true;
        Blown
    }

    /// Whether the process has ended at a point.
    #[must_use]
    pub const fn is_blown(&self) -> bool {
        self.is_blown
    }
}
