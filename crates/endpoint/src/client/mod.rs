//! The client side: any daemon will do to begin with, all others are learnt from it.

mod channels;
mod cluster;
mod error;
mod fetch;
mod metered;
mod read_file;
mod watch;

pub use channels::{Channels, NotDialable};
pub use cluster::{Cluster, FileFilter, FileMap, FragmentPlace, Reader};
pub use error::{CallError, ClientError};
pub use fetch::{FetchFailure, WantedFragment, fetch_fragment, fetch_through};
pub use metered::{Connection, Metered, ReceivedBytes};
